//! The decision on permissions against one that a child would make: list every topic, and ask for each.
//!
//! The alphabet has tokens that no rule names, one of them with a leading `$`, and topics go to one token past the longest
//! pattern: what holds there holds for every further token and length, see the page of `permissions`.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::{collections::BTreeMap, sync::LazyLock};

use carillon_access::{
    Identity, Operation, OwnPatterns, Permissions, Policy, Source,
    permissions::{Layer, Role, Rules, Verdict},
};
use carillon_wire::{Pattern, PatternBuf, Topic, TopicBuf};
use proptest::{collection::vec, option, prelude::*, sample::select};

const MAX_PATTERN_TOKENS: usize = 4;
/// What rules and questions name, and `x` and `$x`, which only questions name or nobody does.
const TOPIC_TOKENS: [&str; 6] = ["a", "b", "$a", "x", "y", "$x"];

static ALL_TOPICS: LazyLock<Vec<TopicBuf>> = LazyLock::new(|| {
    let mut all = Vec::new();
    let mut longest = vec![String::new()];
    for _ in 0..=MAX_PATTERN_TOKENS {
        longest = longest
            .iter()
            .flat_map(|start| {
                TOPIC_TOKENS.map(|token| if start.is_empty() { token.into() } else { format!("{start}.{token}") })
            })
            .collect();
        all.extend(longest.iter().map(|name| TopicBuf::new(name).unwrap()));
    }
    all
});

/// One role's rules, of one operation.
type Lists = (Vec<String>, Vec<String>);

#[derive(Debug, Clone)]
struct Case {
    roles: Vec<Lists>,
    own: Option<Vec<String>>,
    asked: String,
}

fn pattern(tokens: &'static [&'static str]) -> impl Strategy<Value = String> {
    (vec(select(tokens), 0..MAX_PATTERN_TOKENS), select(vec!["a", "*", ">"])).prop_map(|(mut tokens, last)| {
        tokens.push(last);
        tokens.join(".")
    })
}

fn rule() -> impl Strategy<Value = String> {
    pattern(&["a", "b", "$a", "*", "*", "*"])
}

fn cases() -> impl Strategy<Value = Case> {
    let role = (vec(rule(), 0..7), vec(rule(), 0..2));
    // What names `x` asks for a token that no rule has.
    let asked = pattern(&["a", "*", "*", "b", "$a", "x"]);
    (vec(role, 1..3), option::weighted(0.3, vec(rule(), 0..6)), asked).prop_map(|(roles, own, asked)| Case {
        roles,
        own,
        asked,
    })
}

impl Case {
    fn permissions(&self) -> Permissions {
        let role = |(allow, deny): &Lists| Role {
            subscribe: Rules { allow: allow.clone(), deny: deny.clone() },
            ..Role::default()
        };
        let policy = Policy::new(self.roles.iter().enumerate().map(|(n, lists)| (n.to_string(), role(lists)))).unwrap();
        let own = self.own.as_ref().map(|own| OwnPatterns {
            subscribe: Some(own.iter().map(|it| PatternBuf::new(it).unwrap()).collect()),
            ..OwnPatterns::default()
        });
        let identity = Identity {
            subject: "somebody".to_owned(),
            source: Source::Anonymous,
            roles: (0..self.roles.len()).map(|n| n.to_string()).collect(),
            claims: BTreeMap::new(),
            own,
            token_id: None,
            issued_at_s: None,
            expires_at_s: None,
        };
        policy.permissions_of(&identity).unwrap()
    }

    fn is_denied(&self, topic: Topic<'_>) -> bool {
        self.roles.iter().any(|(_, deny)| any_matches(deny, topic))
    }

    fn is_allowed_by_roles(&self, topic: Topic<'_>) -> bool {
        self.roles.iter().any(|(allow, _)| any_matches(allow, topic))
    }

    fn is_in_own(&self, topic: Topic<'_>) -> bool {
        self.own.as_ref().is_none_or(|own| any_matches(own, topic))
    }

    fn is_allowed(&self, topic: Topic<'_>) -> bool {
        !self.is_denied(topic) && self.is_allowed_by_roles(topic) && self.is_in_own(topic)
    }

    fn asked(&self) -> Pattern<'_> {
        Pattern::new(&self.asked).unwrap()
    }

    fn asked_topics(&self) -> impl Iterator<Item = Topic<'_>> {
        ALL_TOPICS.iter().map(TopicBuf::as_topic).filter(|topic| self.asked().matches(*topic))
    }
}

fn any_matches(patterns: &[String], topic: Topic<'_>) -> bool {
    patterns.iter().any(|pattern| Pattern::new(pattern).unwrap().matches(topic))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn a_pattern_is_allowed_exactly_if_each_of_its_topics_is(case in cases()) {
        let permissions = case.permissions();
        let expected = case.asked_topics().all(|topic| case.is_allowed(topic));
        prop_assert_eq!(permissions.check(Operation::Subscribe, case.asked()).is_ok(), expected);
    }

    #[test]
    fn a_topic_is_decided_like_the_pattern_that_it_is(case in cases(), picks in vec(select(ALL_TOPICS.clone()), 50)) {
        let permissions = case.permissions();
        for topic in &picks {
            let topic = topic.as_topic();
            let expected = case.is_allowed(topic);
            prop_assert_eq!(permissions.check_topic(Operation::Subscribe, topic).is_ok(), expected, "{}", topic);
            prop_assert_eq!(permissions.check(Operation::Subscribe, topic.into()).is_ok(), expected, "{}", topic);
        }
    }

    #[test]
    fn an_explanation_decides_the_same_and_its_reason_holds(case in cases()) {
        let permissions = case.permissions();
        let verdict = permissions.explain(Operation::Subscribe, case.asked());
        prop_assert_eq!(verdict.is_allowed(), permissions.check(Operation::Subscribe, case.asked()).is_ok());
        match verdict {
            Verdict::Allowed { rules } => {
                let of_roles = |topic| rules.iter().any(|it| it.role.is_some() && it.pattern.matches(topic));
                prop_assert!(case.asked_topics().all(of_roles));
            }
            Verdict::Denied { rule } => prop_assert!(case.asked_topics().any(|topic| rule.pattern.matches(topic))),
            Verdict::Uncovered { layer, example, .. } => {
                let example = example.unwrap();
                prop_assert!(case.asked().matches(example.as_topic()));
                prop_assert!(!match layer {
                    Layer::Roles => case.is_allowed_by_roles(example.as_topic()),
                    Layer::Token => case.is_in_own(example.as_topic()),
                }, "{}", example);
            }
        }
    }

    #[test]
    fn other_operations_stay_forbidden(case in cases()) {
        let permissions = case.permissions();
        for operation in [Operation::Publish, Operation::History, Operation::Presence] {
            prop_assert!(permissions.check(operation, case.asked()).is_err());
        }
    }
}

/// A property that nearly always sees one answer proves little of the other.
#[test]
fn cases_have_every_outcome() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};

    let mut runner = TestRunner::deterministic();
    let (mut alone, mut together, mut denied, mut uncovered, mut narrowed) = (0, 0, 0, 0, 0);
    for _ in 0..1_000 {
        let case = cases().new_tree(&mut runner).unwrap().current();
        match case.permissions().explain(Operation::Subscribe, case.asked()) {
            Verdict::Allowed { rules } if rules.len() > 1 && case.own.is_none() => together += 1,
            Verdict::Allowed { .. } => alone += 1,
            Verdict::Denied { .. } => denied += 1,
            Verdict::Uncovered { layer: Layer::Roles, .. } => uncovered += 1,
            Verdict::Uncovered { layer: Layer::Token, .. } => narrowed += 1,
        }
    }
    let counts = [alone, together, denied, uncovered, narrowed];
    assert!(counts.iter().all(|count| *count >= 5), "{counts:?}");
}
