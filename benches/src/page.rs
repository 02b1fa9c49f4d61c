//! The part of a page that a program writes: what is between two marks.

use std::{
    fs,
    io::{self, Error},
    path::Path,
};

const END: &str = "<!-- end mark -->";

/// Replaces what is between the marks of a page. `target` is what of `make` writes it.
pub fn write(path: &Path, target: &str, text: &str) -> io::Result<()> {
    let of_page = |error: Error| Error::new(error.kind(), format!("{}: {error}", path.display()));
    let page = fs::read_to_string(path).map_err(of_page)?;
    let begin = begin(target);
    let page = replaced(&page, &begin, text).ok_or_else(|| {
        Error::other(format!(
            "{} has no line `{begin}` with `{END}` behind it, so there is no place for results",
            path.display()
        ))
    })?;
    fs::write(path, page).map_err(of_page)
}

fn begin(target: &str) -> String {
    format!("<!-- from here to the end mark, `make {target}` writes -->")
}

fn replaced(page: &str, begin: &str, text: &str) -> Option<String> {
    let (before, rest) = page.split_once(begin)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{begin}\n\n{text}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let begin = begin("bench");
        let page = format!("before\n{begin}\nold\n{END}\nafter\n");
        let page = replaced(&page, &begin, "new\n").unwrap();
        assert_eq!(page, format!("before\n{begin}\n\nnew\n{END}\nafter\n"));
        assert_eq!(replaced(&page, &begin, "new\n").unwrap(), page);
        assert_eq!(replaced("no marks", &begin, "new"), None);
    }

    #[test]
    fn a_page_without_marks_is_left_alone_and_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = write(file.path(), "bench", "new").unwrap_err().to_string();
        assert!(error.contains(&file.path().display().to_string()) && error.contains("`make bench`"), "{error}");
    }
}
