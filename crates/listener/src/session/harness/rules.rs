//! Who there is, what they may do as the rules are, and the same said so simply that it can be believed.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, LazyLock},
};

use carillon_access::{
    Identity, Policy, Source,
    identity::{
        Algorithm, ApiKeys, IssuerConfig, IssuerKeys, Key, KeyId, Revocations, Secret, Service, ServiceKey, Verifier,
        generate, limits::SECRET_BYTES,
    },
    permissions::{Role, Rules as Patterns},
    quota::{Mode, Most, Pace, Quotas, Rate},
};
use carillon_wire::{Pattern, Topic};

use crate::{gate::Rules, quota::Scopes};

/// When it begins, in unix seconds.
pub(super) const START_S: u64 = 1_800_000_000;
/// What [`IssuerConfig::new`] sets.
const LEEWAY_S: u64 = 30;

const ISSUER: &str = "https://login.test";
const SECRET: &[u8] = b"anybody may read this secret: it signs for tests only";

/// How many sets of rules there are, which replace each other.
pub(super) const EDITIONS: usize = 4;

/// What may be presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Credentials {
    None,
    Alice,
    AliceForAMinute,
    AliceNarrowed,
    Bob,
    CarolOfNoRole,
    Forged,
    Billing,
    NoKey,
}

use Credentials as C;

impl Credentials {
    pub(super) const ALL: [Self; 9] = [
        C::None,
        C::Alice,
        C::AliceForAMinute,
        C::AliceNarrowed,
        C::Bob,
        C::CarolOfNoRole,
        C::Forged,
        C::Billing,
        C::NoKey,
    ];

    /// What is sent.
    pub(super) fn presented(self) -> Option<&'static str> {
        Some(match self {
            C::None => return None,
            C::Alice => include_str!("tokens/alice.jwt"),
            C::AliceForAMinute => include_str!("tokens/alice_for_a_minute.jwt"),
            C::AliceNarrowed => include_str!("tokens/alice_narrowed.jwt"),
            C::Bob => include_str!("tokens/bob.jwt"),
            C::CarolOfNoRole => include_str!("tokens/carol_of_no_role.jwt"),
            C::Forged => include_str!("tokens/forged.jwt"),
            C::Billing => std::str::from_utf8(API_KEY.0.expose()).expect("a text"),
            C::NoKey => "ck_nobody_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        })
    }

    /// What these are, if they are what a client that presents this text has.
    pub(super) fn of(presented: Option<&str>) -> Self {
        Self::ALL.into_iter().find(|it| it.presented() == presented).unwrap_or(C::Forged)
    }

    /// Whether they let somebody in, by an edition of the rules and a time.
    pub(super) fn are_good(self, edition: usize, now_s: u64) -> bool {
        self.may_stay(edition) && self.ends_at_s().is_none_or(|end_s| now_s < end_s)
    }

    /// Whether whoever was let in with them stays when the rules are replaced.
    pub(super) fn may_stay(self, edition: usize) -> bool {
        match self {
            C::Alice | C::AliceForAMinute | C::AliceNarrowed => edition != 2,
            C::Bob => true,
            C::Billing | C::None => edition != 3,
            C::CarolOfNoRole | C::Forged | C::NoKey => false,
        }
    }

    /// When they run out.
    pub(super) fn ends_at_s(self) -> Option<u64> {
        let lasts_s = match self {
            C::Alice | C::Bob | C::CarolOfNoRole | C::Forged => 86_400,
            C::AliceForAMinute => 60,
            C::AliceNarrowed => 3_600,
            C::Billing | C::None | C::NoKey => return None,
        };
        Some(START_S + lasts_s + LEEWAY_S)
    }

    pub(super) fn subject(self) -> &'static str {
        match self {
            C::Alice | C::AliceForAMinute | C::AliceNarrowed | C::Forged => "alice",
            C::Bob => "bob",
            C::CarolOfNoRole => "carol",
            C::Billing => "billing",
            C::None | C::NoKey => "anonymous",
        }
    }

    /// Whether they are of the same kind and subject, so that the ones can be refreshed with the others.
    pub(super) fn is_same_identity(self, other: Self) -> bool {
        self.subject() == other.subject()
    }

    pub(super) fn may_publish(self, edition: usize, topic: Topic<'_>) -> bool {
        let own: &[&str] = if self == C::AliceNarrowed { &["a.b"] } else { &[">"] };
        let (allow, deny): (&[&str], &[&str]) = match (self.subject(), edition) {
            ("billing", _) => (&["b.>", "b"], &[]),
            ("anonymous", _) => (&[], &[]),
            ("alice", 1) => (&["user.alice.>"], &[]),
            ("bob", 1) => (&["user.bob.>"], &[]),
            ("alice", _) => (&["user.alice.>", "a", "a.*", "x"], &["a.secret"]),
            _ => (&["user.bob.>", "a", "a.*", "x"], &["a.secret"]),
        };
        is_inside(allow, deny, own, topic)
    }

    pub(super) fn may_subscribe(self, edition: usize, topic: Topic<'_>) -> bool {
        let own: &[&str] = if self == C::AliceNarrowed { &["a.*"] } else { &[">"] };
        let (allow, deny): (&[&str], &[&str]) = match (self.subject(), edition) {
            ("billing", _) => (&[">"], &["user.>"]),
            ("anonymous", _) => (&["a"], &[]),
            ("alice", 1) => (&["user.alice.>", "b"], &[]),
            ("bob", 1) => (&["user.bob.>", "b"], &[]),
            ("alice", _) => (&["user.alice.>", "a.>", "b", "*.x"], &["a.secret.>"]),
            _ => (&["user.bob.>", "a.>", "b", "*.x"], &["a.secret.>"]),
        };
        is_inside(allow, deny, own, topic)
    }
}

fn is_inside(allow: &[&str], deny: &[&str], own: &[&str], topic: Topic<'_>) -> bool {
    let any = |patterns: &[&str]| patterns.iter().any(|name| Pattern::new(name).is_ok_and(|it| it.matches(topic)));
    any(allow) && !any(deny) && any(own)
}

static API_KEY: LazyLock<(Secret, ServiceKey)> = LazyLock::new(|| {
    let id: KeyId = "billing-1".parse().expect("a good id");
    let (key, hash) = generate(&id, &[7; SECRET_BYTES]);
    (key, ServiceKey { id, hash, expires_at_s: None })
});

static RULES: LazyLock<[Rules; EDITIONS]> = LazyLock::new(|| std::array::from_fn(make_rules));

/// Everybody who may ever be let in.
pub(super) static IDENTITIES: LazyLock<Vec<Identity>> = LazyLock::new(|| {
    let identify = |it: C| RULES[0].identify(it.presented(), None, START_S).ok();
    C::ALL.into_iter().filter_map(identify).collect()
});

/// The rules as they are configured for the broker.
pub(super) fn rules(edition: usize) -> Rules {
    RULES[edition].clone()
}

fn make_rules(edition: usize) -> Rules {
    let key = Key::from_secret(None, &Secret::new(SECRET)).expect("a good key");
    let issuer = IssuerConfig::new(ISSUER, &[Algorithm::Hs256], &["carillon"], IssuerKeys::Fixed(vec![key]));
    let billing = Service {
        name: "billing".to_owned(),
        roles: vec!["service".to_owned()],
        claims: BTreeMap::new(),
        keys: vec![API_KEY.1.clone()],
    };
    let services = if edition == 3 { Vec::new() } else { vec![billing] };
    let revoked = if edition == 2 { "subject alice" } else { "" };
    Rules {
        tokens: Verifier::new(vec![issuer]).expect("a good issuer"),
        api_keys: ApiKeys::new(services).expect("good services"),
        anonymous: (edition != 3).then(anonymous),
        policy: policy(edition),
        revocations: revoked.parse::<Revocations>().expect("a good list"),
        quotas: Arc::new(scopes(edition)),
        ..Rules::default()
    }
}

fn policy(edition: usize) -> Policy {
    let patterns = |allow: &[&str], deny: &[&str]| {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Patterns { allow: owned(allow), deny: owned(deny) }
    };
    let role = |publish, subscribe| Role { publish, subscribe, ..Role::default() };
    let user = if edition == 1 {
        role(patterns(&["user.{sub}.>"], &[]), patterns(&["user.{sub}.>", "b"], &[]))
    } else {
        role(
            patterns(&["user.{sub}.>", "a", "a.*", "x"], &["a.secret"]),
            patterns(&["user.{sub}.>", "a.>", "b", "*.x"], &["a.secret.>"]),
        )
    };
    let service = role(patterns(&["b.>", "b"], &[]), patterns(&[">"], &["user.>"]));
    let guest = role(patterns(&[], &[]), patterns(&["a"], &[]));
    let roles = [("user", user), ("service", service), ("guest", guest)];
    Policy::new(roles.map(|(name, role)| (name.to_owned(), role))).expect("good roles")
}

/// Those of the fourth edition are so small that every one is met.
fn scopes(edition: usize) -> Scopes {
    if edition != 3 {
        return Scopes::default();
    }
    let most = |most| Some(Most { most, mode: Mode::Enforce });
    let pace = |per_second, burst, mode| Some(Pace { rate: Rate::new(per_second, burst).expect("a good rate"), mode });
    let quotas = |count: u64, burst: u64| Quotas {
        connections: most(count),
        subscriptions: most(count),
        payload_bytes: most(200),
        publications: pace(1, burst, Mode::Enforce),
        bytes: pace(100, 100 * burst, Mode::ReportOnly),
        requests: pace(1, burst, Mode::Enforce),
        failed_logins: pace(1, 1, Mode::Enforce),
        ..Quotas::default()
    };
    Scopes {
        connection: Arc::new(quotas(2, 4)),
        identity: Arc::new(quotas(1, 6)),
        address: Arc::new(quotas(2, 8)),
        ..Scopes::default()
    }
}

fn anonymous() -> Identity {
    Identity {
        subject: "anonymous".to_owned(),
        source: Source::Anonymous,
        roles: vec!["guest".to_owned()],
        claims: BTreeMap::new(),
        own: None,
        token_id: None,
        issued_at_s: None,
        expires_at_s: None,
    }
}

/// Where the client of a place comes from: most from one address.
pub(super) fn address(place: usize) -> IpAddr {
    let last = if place < 3 { 1 } else { 2 };
    Ipv4Addr::new(10, 0, 0, last).into()
}
