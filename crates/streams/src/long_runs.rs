//! How long the models run.

/// How many cases a model has: `usual`, or what `PROPTEST_CASES` says for a long run.
pub(crate) fn cases(usual: u32) -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(usual)
}
