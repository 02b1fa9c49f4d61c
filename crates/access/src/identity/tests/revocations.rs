//! Revocations: the text, and whom it concerns.

use std::{collections::BTreeMap, fmt::Write};

use proptest::prelude::*;

use crate::{
    Identity, Source,
    identity::{
        LineProblem, Revocations, Revoked,
        limits::{MAX_ENTRIES, MAX_LINE_BYTES},
    },
};

fn token(subject: &str, token_id: Option<&str>, issued_at_s: Option<u64>) -> Identity {
    Identity {
        subject: subject.to_owned(),
        source: Source::Token { issuer: "i".to_owned() },
        roles: Vec::new(),
        claims: BTreeMap::new(),
        own: None,
        token_id: token_id.map(str::to_owned),
        issued_at_s,
        expires_at_s: None,
    }
}

fn read(text: &str) -> Revocations {
    text.parse().unwrap()
}

fn problem(text: &str) -> (usize, LineProblem) {
    let error = text.parse::<Revocations>().unwrap_err();
    (error.line, error.problem)
}

#[test]
fn an_empty_list_revokes_nobody() {
    for text in ["", "\n\n", "# subject alice\n  #token t1\n#"] {
        let none = read(text);
        assert!(none.is_empty());
        assert_eq!(none.check(&token("alice", None, None)), Ok(()));
    }
}

#[test]
fn subjects_are_revoked_to_the_letter_and_however_they_come() {
    let list = read("subject alice\n  subject   two words  \r\n");
    assert_eq!(list.len(), 2);
    for source in
        [Source::Token { issuer: "i".to_owned() }, Source::Certificate, Source::ApiKey { name: "k".to_owned() }]
    {
        let identity = |subject: &str| Identity { source: source.clone(), ..token(subject, None, None) };
        assert_eq!(list.check(&identity("alice")), Err(Revoked::Subject));
        assert_eq!(list.check(&identity("two words")), Err(Revoked::Subject));
        for other in ["Alice", "alice2", "two", "words", "two  words"] {
            assert_eq!(list.check(&identity(other)), Ok(()), "{other}");
        }
    }
}

#[test]
fn tokens_are_revoked_by_their_id() {
    let list = read("token t1");
    assert_eq!(list.check(&token("alice", Some("t1"), None)), Err(Revoked::Token));
    assert_eq!(list.check(&token("alice", Some("t2"), None)), Ok(()));
    assert_eq!(list.check(&token("t1", None, None)), Ok(()));
}

#[test]
fn tokens_are_revoked_by_their_age() {
    let list = read("issued-before 100\nissued-before 200 bob\n");
    let check = |subject: &str, issued_at_s| list.check(&token(subject, None, issued_at_s));

    assert_eq!(check("alice", Some(99)), Err(Revoked::IssuedBefore(100)));
    assert_eq!(check("alice", Some(100)), Ok(()));
    assert_eq!(check("bob", Some(199)), Err(Revoked::IssuedBefore(200)));
    assert_eq!(check("bob", Some(200)), Ok(()));
    assert_eq!(check("alice", None), Err(Revoked::IssuedBefore(100)));
}

#[test]
fn of_two_ages_the_stricter_holds_in_any_order() {
    for text in ["issued-before 100 a\nissued-before 200 a", "issued-before 200 a\nissued-before 100 a"] {
        assert_eq!(read(text).check(&token("a", None, Some(150))), Err(Revoked::IssuedBefore(200)));
    }
    let list = read("issued-before 300\nissued-before 200 a");
    assert_eq!(list.check(&token("a", None, Some(250))), Err(Revoked::IssuedBefore(300)));
}

#[test]
fn ages_and_token_ids_are_about_tokens() {
    let list = read("issued-before 100\nissued-before 100 a\ntoken t1\n");
    for source in [Source::Certificate, Source::ApiKey { name: "k".to_owned() }, Source::Anonymous] {
        assert_eq!(list.check(&Identity { source, ..token("a", Some("t1"), Some(1)) }), Ok(()));
    }
}

#[test]
fn bad_lines_are_told_by_their_number_and_refuse_the_list() {
    assert_eq!(problem("subject a\n\nuser bob\n"), (3, LineProblem::UnknownEntry("\"user\"".to_owned())));
    assert_eq!(problem("Subject a").1, LineProblem::UnknownEntry("\"Subject\"".to_owned()));
    assert_eq!(problem("# x\nsubject"), (2, LineProblem::NoName));
    assert_eq!(problem("token   ").1, LineProblem::NoName);
    for time in ["", "tomorrow", "-1", "+1", "1.5", "2026-11-21", "18446744073709551616"] {
        let shown = format!("{time:?}");
        assert_eq!(problem(&format!("issued-before {time}")).1, LineProblem::NotATime(shown));
    }
    let error = "issued-before bob".parse::<Revocations>().unwrap_err().to_string();
    assert_eq!(error, r#"line 1: "bob" is no time; it is written in seconds since 1970 (`date +%s`)"#);
}

#[test]
fn lines_and_lists_have_their_bounds() {
    let line = |bytes: usize| format!("subject {}", "x".repeat(bytes - 8));
    assert!(line(MAX_LINE_BYTES).parse::<Revocations>().is_ok());
    assert_eq!(problem(&line(MAX_LINE_BYTES + 1)).1, LineProblem::TooLong(MAX_LINE_BYTES + 1));

    let mut many = String::new();
    for number in 0..MAX_ENTRIES {
        writeln!(many, "token t{number}").unwrap();
    }
    assert_eq!(read(&many).len(), MAX_ENTRIES);
    // What is there already counts once.
    assert!(format!("{many}token t0\n").parse::<Revocations>().is_ok());
    assert_eq!(problem(&format!("{many}subject a\n")), (MAX_ENTRIES + 1, LineProblem::TooMany));
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "((subject|token|issued-before|#)?[ \t]?.{0,20}\n){0,6}") {
        let _ = text.parse::<Revocations>();
    }

    /// Every subject that a token may have can be revoked by writing it down.
    #[test]
    fn every_name_can_be_revoked(name in "\\PC{1,60}") {
        prop_assume!(crate::identity::name::is_name(&name));
        let by_subject = read(&format!("subject {name}"));
        prop_assert_eq!(by_subject.check(&token(&name, None, None)), Err(Revoked::Subject));
        let by_age = read(&format!("issued-before 5 {name}"));
        prop_assert_eq!(by_age.check(&token(&name, None, Some(4))), Err(Revoked::IssuedBefore(5)));
        let by_id = read(&format!("token {name}"));
        prop_assert_eq!(by_id.check(&token("a", Some(&name), None)), Err(Revoked::Token));
    }
}
