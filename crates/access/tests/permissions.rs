//! Permissions: what roles, claims and tokens come to, case by case.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::{collections::BTreeMap, iter};

use allocation_counter::measure;
use carillon_access::{
    Identity, Operation, OwnPatterns, Permissions, Policy, Source,
    permissions::{
        ClaimFault, Effect, MAX_OWN_PATTERNS, MAX_PATTERNS, PermissionsError, PolicyError, Role, RuleFault, Rules,
    },
};
use carillon_wire::{
    Pattern, PatternBuf, Topic,
    topic::{MAX_TOKENS, NameError},
};

fn rules(allow: &[&str], deny: &[&str]) -> Rules {
    let owned = |rules: &[&str]| rules.iter().map(ToString::to_string).collect();
    Rules { allow: owned(allow), deny: owned(deny) }
}

fn subscriber(allow: &[&str], deny: &[&str]) -> Role {
    Role { subscribe: rules(allow, deny), ..Role::default() }
}

fn policy(roles: impl IntoIterator<Item = (&'static str, Role)>) -> Result<Policy, PolicyError> {
    Policy::new(roles.into_iter().map(|(name, role)| (name.to_owned(), role)))
}

fn identity(subject: &str, roles: &[&str]) -> Identity {
    Identity {
        subject: subject.to_owned(),
        source: Source::Token { issuer: "https://login.example.com".to_owned() },
        roles: roles.iter().map(ToString::to_string).collect(),
        claims: BTreeMap::new(),
        own: None,
        token_id: None,
        issued_at_s: None,
        expires_at_s: None,
    }
}

/// What one role comes to for `alice`.
fn permissions(role: Role) -> Permissions {
    policy([("role", role)]).unwrap().permissions_of(&identity("alice", &["role"])).unwrap()
}

fn may_subscribe(permissions: &Permissions, pattern: &str) -> bool {
    permissions.check(Operation::Subscribe, Pattern::new(pattern).unwrap()).is_ok()
}

#[test]
fn union_covers_what_no_rule_does_alone() {
    let permissions = permissions(subscriber(&["*", "*.>", "a.*", "a.*.>", "b.c", "b.*.>"], &[]));
    for (pattern, expected) in [(">", true), ("a.>", true), ("*.*.*", true), ("b.>", true), ("$a.>", false)] {
        assert_eq!(may_subscribe(&permissions, pattern), expected, "{pattern}");
    }
    let one_by_name = self::permissions(subscriber(&["b.c", "b.*.>"], &[]));
    assert!(!may_subscribe(&one_by_name, "b.>"), "`b.x` is in neither");
    assert!(!may_subscribe(&one_by_name, "b.*"));
}

#[test]
fn longest_topic_ends_what_rest_can_match() {
    let all_lengths: Vec<_> = (1..MAX_TOKENS).map(|stars| format!("a{}", ".*".repeat(stars))).collect();
    let names: Vec<_> = all_lengths.iter().map(String::as_str).collect();
    assert!(may_subscribe(&permissions(subscriber(&names, &[])), "a.>"));
    for missing in 0..names.len() {
        let but_one: Vec<_> = names.iter().copied().enumerate().filter(|(n, _)| *n != missing).map(|it| it.1).collect();
        assert!(!may_subscribe(&permissions(subscriber(&but_one, &[])), "a.>"), "without {}", names[missing]);
    }
}

#[test]
fn no_wildcard_reaches_around_a_deny() {
    let permissions = permissions(subscriber(&[">", "$sys.>"], &["secret.>", "*.private", "$sys.keys"]));
    for (pattern, expected) in [
        ("open.x", true),
        ("open.*.*", true),
        ("secret", true),
        ("secret.x", false),
        ("*", true),
        ("*.*", false),
        ("*.x", false),
        (">", false),
        ("open.>", false),
        ("open.*", false),
        ("open.private.x", true),
        ("$sys.load", true),
        ("$sys.keys", false),
        ("$sys.*", false),
        ("$sys.*.*", true),
    ] {
        assert_eq!(may_subscribe(&permissions, pattern), expected, "{pattern}");
    }
}

#[test]
fn roles_add_up_and_one_of_them_denies_for_all() {
    let policy = policy([
        ("reader", subscriber(&["news.>"], &[])),
        ("writer", Role { publish: rules(&["news.>"], &[]), ..Role::default() }),
        ("trainee", subscriber(&[], &["news.drafts"])),
    ])
    .unwrap();
    let of = |roles: &[&str]| policy.permissions_of(&identity("alice", roles)).unwrap();
    let topic = Topic::new("news.today").unwrap();
    assert!(of(&["reader"]).check_publish(topic).is_err());
    assert!(of(&["reader", "writer", "reader"]).check_publish(topic).is_ok());
    assert!(may_subscribe(&of(&["reader", "writer"]), "news.>"));
    assert!(!may_subscribe(&of(&["reader", "trainee"]), "news.>"));
    assert!(!may_subscribe(&of(&["trainee", "reader"]), "news.drafts"));
    assert!(!may_subscribe(&of(&[]), "news.today"));
    assert!(!may_subscribe(&Permissions::default(), "news.today"));
}

#[test]
fn claims_fill_tokens_and_parts_of_tokens() {
    let role = subscriber(&["user.{sub}.>", "t-{https://example.com/tenant}-{region}.*"], &["user.{sub}.locked"]);
    let mut alice = identity("al{region}ice", &["role"]);
    alice.claims = BTreeMap::from([
        ("https://example.com/tenant".to_owned(), "acme".to_owned()),
        ("region".to_owned(), "eu".to_owned()),
        ("sub".to_owned(), "bob".to_owned()),
    ]);
    let permissions = policy([("role", role)]).unwrap().permissions_of(&alice).unwrap();
    for (pattern, expected) in [
        // A value is text: what looks like a place in it is not filled in.
        ("user.al{region}ice.mood", true),
        ("user.aleuice.mood", false),
        ("user.bob.mood", false),
        ("user.{sub}.mood", false),
        ("user.al{region}ice.locked", false),
        ("t-acme-eu.*", true),
        ("t-acme-us.x", false),
        ("user.*.mood", false),
    ] {
        assert_eq!(may_subscribe(&permissions, pattern), expected, "{pattern}");
    }
    let rule = permissions.explain(Operation::Subscribe, Pattern::new("user.*.locked").unwrap());
    assert_eq!(
        rule.to_string(),
        "denied: role `role` denies subscribe `user.{sub}.locked`, here `user.al{region}ice.locked`"
    );
}

#[test]
fn values_that_are_more_than_one_token_are_refused_by_the_claims_name() {
    let policy = policy([("role", subscriber(&["tenant.{tenant}.>"], &[]))]).unwrap();
    let refusal = |value: Option<&str>| {
        let mut identity = identity("alice", &["role"]);
        identity.claims.extend(value.map(|value| ("tenant".to_owned(), value.to_owned())));
        policy.permissions_of(&identity).err()
    };
    let long = "v".repeat(250);
    let too_long = "v".repeat(300);
    for (value, fault) in [
        (None, ClaimFault::Missing),
        (Some(""), ClaimFault::Empty),
        (Some("a.b"), ClaimFault::NotOneToken),
        (Some("."), ClaimFault::NotOneToken),
        (Some("*"), ClaimFault::NotOneToken),
        (Some(">"), ClaimFault::NotOneToken),
        (Some("a*"), ClaimFault::NotOneToken),
        (Some("$sys"), ClaimFault::NotOneToken),
        (Some("a b"), ClaimFault::NotOneToken),
        (Some("a\u{a0}b"), ClaimFault::NotOneToken),
        (Some("a\n"), ClaimFault::NotOneToken),
        (Some("a\0"), ClaimFault::NotOneToken),
        (Some(long.as_str()), ClaimFault::TooLong),
        (Some(too_long.as_str()), ClaimFault::TooLong),
    ] {
        let error = refusal(value).unwrap();
        assert_eq!(error, PermissionsError::UnusableClaim { claim: "tenant".to_owned(), fault }, "{value:?}");
    }
    for value in ["a", "a$", "{tenant}", "größe", "a/b", "-"] {
        assert_eq!(refusal(Some(value)), None, "{value}");
    }
    assert_eq!(
        refusal(Some("top.secret")).unwrap().to_string(),
        "claim `tenant` cannot be used in topics: it has a dot, `*`, `>`, white space or a control character, or starts with `$`"
    );
}

#[test]
fn own_patterns_only_take_away() {
    let policy = policy([("role", subscriber(&["a.>", "b.*"], &["a.denied"]))]).unwrap();
    let with = |own: Option<&[&str]>| {
        let mut identity = identity("alice", &["role"]);
        let patterns = |own: &[&str]| own.iter().map(|it| PatternBuf::new(it).unwrap()).collect();
        identity.own = Some(OwnPatterns { subscribe: own.map(patterns), ..OwnPatterns::default() });
        policy.permissions_of(&identity).unwrap()
    };
    let narrowed = with(Some(&["a.*", "b.x", "c.>"]));
    for (pattern, expected) in
        [("a.x", true), ("a.denied", false), ("a.x.y", false), ("b.x", true), ("b.*", false), ("c.x", false)]
    {
        assert_eq!(may_subscribe(&narrowed, pattern), expected, "{pattern}");
    }
    assert!(may_subscribe(&with(None), "b.*"));
    assert!(!may_subscribe(&with(Some(&[])), "b.x"));
    let verdict = narrowed.explain(Operation::Subscribe, Pattern::new("b.*").unwrap());
    assert_eq!(verdict.to_string(), "not allowed: the token's own patterns do not have subscribe `b.any`, for example");
    let verdict = narrowed.explain(Operation::Subscribe, Pattern::new("b.x").unwrap());
    assert_eq!(
        verdict.to_string(),
        "allowed: role `role` allows subscribe `b.*`, and the token itself allows subscribe `b.x`"
    );
}

#[test]
fn what_nobody_can_decide_in_time_is_refused() {
    let many = |patterns: usize| -> Vec<String> { iter::repeat_n("a".to_owned(), patterns).collect() };
    let role = |patterns| Role { publish: Rules { allow: many(patterns), deny: Vec::new() }, ..Role::default() };
    assert_eq!(
        policy([("big", role(MAX_PATTERNS + 1))]).unwrap_err(),
        PolicyError::TooManyPatterns { role: "big".to_owned(), patterns: MAX_PATTERNS + 1 }
    );
    let policy = policy([("one", role(1)), ("most", role(MAX_PATTERNS))]).unwrap();
    assert!(policy.permissions_of(&identity("alice", &["most", "most"])).is_ok());
    assert_eq!(
        policy.permissions_of(&identity("alice", &["most", "one"])).unwrap_err(),
        PermissionsError::TooManyPatterns(MAX_PATTERNS + 1)
    );
    let mut own = identity("alice", &["one"]);
    let patterns = |count| Some(iter::repeat_n(PatternBuf::new("a").unwrap(), count).collect());
    own.own = Some(OwnPatterns { history: patterns(MAX_OWN_PATTERNS), ..OwnPatterns::default() });
    assert!(policy.permissions_of(&own).is_ok());
    own.own = Some(OwnPatterns { history: patterns(MAX_OWN_PATTERNS + 1), ..OwnPatterns::default() });
    assert_eq!(
        policy.permissions_of(&own).unwrap_err(),
        PermissionsError::TooManyOwnPatterns { operation: Operation::History, patterns: MAX_OWN_PATTERNS + 1 }
    );
}

#[test]
fn examples_use_a_token_that_no_rule_allows() {
    let permissions = permissions(subscriber(&["a.any", "a.any1", "a.any.*"], &[]));
    for (pattern, example) in [("a.*", "a.any2"), ("a.>", "a.any2"), ("a.any.>", "a.any.any.any")] {
        let verdict = permissions.explain(Operation::Subscribe, Pattern::new(pattern).unwrap());
        assert_eq!(verdict.to_string(), format!("not allowed: no role allows subscribe `{example}`, for example"));
    }
}

#[test]
fn roles_that_do_not_exist_are_refused_because_they_may_have_denied() {
    let policy = policy([("reader", subscriber(&["a"], &[]))]).unwrap();
    assert!(policy.has_role("reader") && !policy.has_role("trainee"));
    assert_eq!(
        policy.permissions_of(&identity("alice", &["reader", "trainee"])).unwrap_err(),
        PermissionsError::UnknownRole("trainee".to_owned())
    );
}

#[test]
fn rules_that_are_no_patterns_are_named() {
    for (rule, fault) in [
        ("", RuleFault::Name(NameError::Empty)),
        ("a..b", RuleFault::Name(NameError::EmptyToken)),
        ("a.>.b", RuleFault::Name(NameError::RestNotLast)),
        ("a.{sub}*", RuleFault::Name(NameError::WildcardInToken)),
        ("a.{sub}>", RuleFault::Name(NameError::WildcardInToken)),
        ("a.{sub}..b", RuleFault::Name(NameError::EmptyToken)),
        ("a.{sub", RuleFault::UnbalancedBrace),
        ("a.sub}", RuleFault::UnbalancedBrace),
        ("a.}{sub}", RuleFault::UnbalancedBrace),
        ("a.{sub}}", RuleFault::UnbalancedBrace),
        ("a.{{sub}}", RuleFault::UnbalancedBrace),
        ("a.{}", RuleFault::UnnamedClaim),
    ] {
        let error = policy([("role", subscriber(&["fine"], &[rule]))]).unwrap_err();
        let (role, operation, effect) = ("role".to_owned(), Operation::Subscribe, Effect::Deny);
        assert_eq!(error, PolicyError::Rule { role, operation, effect, rule: rule.to_owned(), fault });
    }
    assert_eq!(
        policy([("web", subscriber(&["user.{}"], &[]))]).unwrap_err().to_string(),
        "role `web`: `subscribe.allow` has `user.{}`: it has braces with nothing between; write the name of a claim, \
         as in `user.{sub}.>`"
    );
    assert_eq!(policy([("", Role::default())]).unwrap_err(), PolicyError::UnnamedRole);
    let twice = policy([("a", Role::default()), ("a", Role::default())]);
    assert_eq!(twice.unwrap_err(), PolicyError::DuplicateRole("a".to_owned()));
}

#[test]
fn refusals_tell_the_client_nothing_that_it_did_not_say() {
    let permissions = permissions(subscriber(&["orders.{sub}.>"], &["orders.*.secret"]));
    let refusal = |pattern| permissions.check(Operation::Subscribe, Pattern::new(pattern).unwrap()).unwrap_err();
    assert_eq!(
        refusal("orders.>").to_string(),
        "not allowed to subscribe to `orders.>`; each topic that a pattern can match must be allowed, so a narrower one may be"
    );
    assert_eq!(refusal("orders.alice.secret").to_string(), "not allowed to subscribe to `orders.alice.secret`");
    assert_eq!(refusal("other").to_string(), "not allowed to subscribe to `other`");
}

#[test]
fn checks_allocate_nothing() {
    let role = Role {
        publish: rules(&["a.{sub}.*.b", "c.>", "d"], &["c.*.e", "c.f.>"]),
        subscribe: rules(&["c.>", "*", "*.>"], &["d"]),
        ..Role::default()
    };
    let permissions = permissions(role);
    let topics = ["a.alice.x.b", "c.x", "d", "c.x.e", "other.x"].map(|name| Topic::new(name).unwrap());
    let patterns = ["c.>", "x.*.>", ">", "d"].map(|name| Pattern::new(name).unwrap());
    let mut allowed = (0, 0);
    let used = measure(|| {
        allowed.0 = topics.iter().filter(|it| permissions.check_publish(**it).is_ok()).count();
        allowed.1 = patterns.iter().filter(|it| permissions.check(Operation::Subscribe, **it).is_ok()).count();
    });
    assert_eq!(allowed, (3, 2));
    assert_eq!(used.count_total, 0);
}
