//! From an issuer's claims to an identity.

use std::collections::BTreeMap;

use carillon_wire::PatternBuf;
use serde_json::Value;

use super::{
    issuer::IssuerConfig,
    name::{NAME_FORM, is_name, shown_list},
    token::VerifiedClaims,
    token_error::TokenError,
};
use crate::subject::{Identity, OwnPatterns, Source};

/// The most roles of a token.
pub const MAX_ROLES: usize = 64;
/// The most patterns that a token carries itself, all operations together.
pub const MAX_PATTERNS: usize = 64;

/// Checks the claims against what their issuer's must be, and makes the identity of them.
pub(super) fn identify(claims: &VerifiedClaims, issuer: &IssuerConfig, now_s: u64) -> Result<Identity, TokenError> {
    if let Some(missing) = issuer.required_claims.iter().find(|name| claims.get(name).is_none()) {
        return Err(TokenError::MissingClaim(missing.clone()));
    }
    let times = Times::read(claims)?;
    times.check(issuer, now_s)?;
    check_audience(claims, issuer)?;
    Ok(Identity {
        subject: name_claim(claims, "sub")?.ok_or_else(|| TokenError::MissingClaim("sub".to_owned()))?,
        source: Source::Token { issuer: issuer.issuer.clone() },
        roles: roles(claims, &issuer.roles_claim)?,
        claims: template_claims(claims, &issuer.template_claims)?,
        own: claims.get("carillon").map(own_patterns).transpose()?,
        token_id: name_claim(claims, "jti")?,
        issued_at_s: times.iat,
        expires_at_s: times.exp.map(|exp| exp.saturating_add(issuer.leeway_s)),
    })
}

/// The token's times under their names there, in unix seconds.
struct Times {
    exp: Option<u64>,
    nbf: Option<u64>,
    iat: Option<u64>,
}

impl Times {
    fn read(claims: &VerifiedClaims) -> Result<Self, TokenError> {
        let time = |claim: &str, round: fn(f64) -> f64| claims.get(claim).map(|value| seconds(claim, value, round));
        // Fractions of a second never make a token good for longer.
        Ok(Self {
            exp: time("exp", f64::floor).transpose()?,
            nbf: time("nbf", f64::ceil).transpose()?,
            iat: time("iat", f64::floor).transpose()?,
        })
    }

    /// A token is good while `nbf - leeway <= now < exp + leeway`. One that was issued later than now would escape a
    /// revocation by its age, so it waits too.
    fn check(&self, issuer: &IssuerConfig, now_s: u64) -> Result<(), TokenError> {
        match self.exp {
            None if issuer.requires_expiry => return Err(TokenError::MissingClaim("exp".to_owned())),
            Some(exp) if now_s >= exp.saturating_add(issuer.leeway_s) => {
                return Err(TokenError::Expired { ago_s: now_s - exp });
            }
            _ => {}
        }
        for (claim, time_s) in [("nbf", self.nbf), ("iat", self.iat)] {
            if let Some(time_s) = time_s
                && now_s.saturating_add(issuer.leeway_s) < time_s
            {
                return Err(TokenError::InFuture { claim, in_s: time_s - now_s });
            }
        }
        Ok(())
    }
}

/// A time as JWTs write it: seconds since 1970, perhaps with a fraction.
fn seconds(claim: &str, value: &Value, round: fn(f64) -> f64) -> Result<u64, TokenError> {
    /// Up to it a float has every whole number.
    const MAX_EXACT: f64 = 9_007_199_254_740_992.0;
    let whole = value.as_u64().or_else(|| {
        let rounded = round(value.as_f64()?);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and in range")]
        (0.0..MAX_EXACT).contains(&rounded).then_some(rounded as u64)
    });
    whole.ok_or_else(|| form(claim, "a time in seconds since 1970"))
}

fn check_audience(claims: &VerifiedClaims, issuer: &IssuerConfig) -> Result<(), TokenError> {
    let audience = claims.get("aud").ok_or_else(|| TokenError::MissingClaim("aud".to_owned()))?;
    let is_ours = |name: &Value| name.as_str().is_some_and(|name| issuer.audiences.iter().any(|ours| ours == name));
    let addressed = match audience {
        Value::String(_) => is_ours(audience),
        Value::Array(names) if names.iter().all(Value::is_string) => names.iter().any(is_ours),
        _ => return Err(form("aud", "a text or an array of texts")),
    };
    if addressed {
        Ok(())
    } else {
        Err(TokenError::WrongAudience(shown_list(issuer.audiences.iter().map(String::as_str))))
    }
}

/// No claim is no role.
fn roles(claims: &VerifiedClaims, claim: &str) -> Result<Vec<String>, TokenError> {
    let not_roles = || form(claim, "an array of names, or a text with names and spaces between them");
    let named: Vec<&str> = match claims.get(claim) {
        None => Vec::new(),
        Some(Value::String(names)) => names.split_ascii_whitespace().collect(),
        Some(Value::Array(names)) => names.iter().map(Value::as_str).collect::<Option<_>>().ok_or_else(not_roles)?,
        Some(_) => return Err(not_roles()),
    };
    if named.len() > MAX_ROLES {
        return Err(TokenError::TooManyRoles(named.len()));
    }
    let mut roles: Vec<String> = Vec::with_capacity(named.len());
    for name in named {
        if !is_name(name) {
            return Err(not_roles());
        }
        if !roles.iter().any(|role| role == name) {
            roles.push(name.to_owned());
        }
    }
    Ok(roles)
}

fn template_claims(claims: &VerifiedClaims, names: &[String]) -> Result<BTreeMap<String, String>, TokenError> {
    let present = names.iter().filter_map(|name| Some((name.clone(), name_claim(claims, name).transpose()?)));
    present.map(|(name, value)| Ok((name, value?))).collect()
}

fn name_claim(claims: &VerifiedClaims, claim: &str) -> Result<Option<String>, TokenError> {
    let Some(value) = claims.get(claim) else { return Ok(None) };
    match value.as_str().filter(|text| is_name(text)) {
        Some(text) => Ok(Some(text.to_owned())),
        None => Err(form(claim, NAME_FORM)),
    }
}

/// `{"publish": [...], "subscribe": [...], "history": [...], "presence": [...]}`. A misspelt operation would leave the
/// role's patterns as they are, so nothing else may be in it.
fn own_patterns(claim: &Value) -> Result<OwnPatterns, TokenError> {
    let not_own =
        || form("carillon", "an object with arrays of patterns named publish, subscribe, history or presence");
    let mut own = OwnPatterns::default();
    let mut total = 0;
    for (operation, patterns) in claim.as_object().ok_or_else(not_own)? {
        let (operation, slot) = match operation.as_str() {
            "publish" => ("publish", &mut own.publish),
            "subscribe" => ("subscribe", &mut own.subscribe),
            "history" => ("history", &mut own.history),
            "presence" => ("presence", &mut own.presence),
            _ => return Err(not_own()),
        };
        let patterns = patterns.as_array().ok_or_else(not_own)?;
        total += patterns.len();
        if total > MAX_PATTERNS {
            return Err(TokenError::TooManyPatterns);
        }
        let read = |(index, pattern): (usize, &Value)| {
            let pattern = PatternBuf::new(pattern.as_str().ok_or_else(not_own)?);
            pattern.map_err(|problem| TokenError::BadPattern { operation, number: index + 1, problem })
        };
        *slot = Some(patterns.iter().enumerate().map(read).collect::<Result<_, _>>()?);
    }
    Ok(own)
}

fn form(claim: &str, expected: &'static str) -> TokenError {
    TokenError::ClaimForm { claim: claim.to_owned(), expected }
}
