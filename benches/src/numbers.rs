//! Numbers for people.

/// With as many digits as mean something in a measurement: three, or all that are before the point.
pub fn digits(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        medium if medium >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A whole number in groups of three digits, for one that is not negative.
pub fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number in little room: `20,000` is `20k`, `19,700` is `19.7k`, and of bytes `65536` is `64Ki`.
pub fn short(number: u64, is_bytes: bool) -> String {
    let (base, units) = if is_bytes { (1024, ["", "Ki", "Mi"]) } else { (1000, ["", "k", "M"]) };
    let (mut number, mut unit) = (number, 0);
    while number >= base && number.is_multiple_of(base) && unit + 1 < units.len() {
        number /= base;
        unit += 1;
    }
    if !is_bytes && number >= base && number.is_multiple_of(base / 10) && unit + 1 < units.len() {
        let (whole, tenth) = (number / base, number % base / (base / 10));
        return format!("{whole}.{tenth}{}", units.get(unit + 1).copied().unwrap_or_default());
    }
    format!("{number}{}", units.get(unit).copied().unwrap_or_default())
}

/// A round number, with no digit that says nothing: `0.5`, `20`, `5,000`.
pub fn round(value: f64) -> String {
    if value >= 1000.0 {
        return thousands(value);
    }
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_those_that_mean_something() {
        assert_eq!([0.1234, 12.345, 1234.5].map(digits), ["0.12", "12.3", "1234"]);
        assert_eq!([0.0, 999.0, 1_234_567.0].map(thousands), ["0", "999", "1,234,567"]);
        assert_eq!([0.0, 0.5, 20.0, 5000.0].map(round), ["0", "0.5", "20", "5,000"]);
    }

    #[test]
    fn short_numbers_are_exact() {
        let found = [0, 999, 20_000, 19_700, 1_500_000, 1234, 1_000_000].map(|number| short(number, false));
        assert_eq!(found, ["0", "999", "20k", "19.7k", "1.5M", "1234", "1M"]);
        assert_eq!([16, 1024, 65_536, 1 << 20].map(|number| short(number, true)), ["16", "1Ki", "64Ki", "1Mi"]);
    }
}
