//! What an attack works with: where the broker is, who the attackers are, how many and how long.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    future::Future,
    io,
    net::Ipv4Addr,
    rc::Rc,
    time::{Duration, Instant},
};

use carillon_benches::connection::Target;
use tokio::task::JoinSet;

use crate::{attacks::Run, settings::Settings, site::Credentials};

/// Connection attempts of attackers that are under way at once.
const CONNECTING: usize = 64;
/// Beyond the deadlines of the broker, until attackers who wait for it to end them go away by themselves.
const PATIENCE: Duration = Duration::from_secs(20);

/// Before somebody who was not let in tries again.
pub(crate) const AFTER_FAILURE: Duration = Duration::from_millis(5);

/// How many attackers come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Size {
    /// All of them.
    Full,
    /// A fifth.
    Small,
}

impl Size {
    /// So many in full.
    pub(crate) fn of(self, full: usize) -> usize {
        match self {
            Self::Full => full,
            Self::Small => full / 5,
        }
    }
}

/// Where an attack takes place. Copies are of the same one.
#[derive(Clone)]
pub(crate) struct Scene {
    /// The broker.
    pub(crate) target: Target,
    /// Which attack this is, of all that there are.
    pub(crate) attack: u8,
    /// What attackers show.
    pub(crate) credentials: Rc<Credentials>,
    /// How many they are.
    pub(crate) size: Size,
    /// How the broker is configured.
    pub(crate) settings: Rc<Settings>,
    /// Attackers who come again and again do so until here.
    pub(crate) until: Instant,
    /// How long somebody floods who is in.
    pub(crate) lasts: Duration,
    /// What happened to the attackers.
    pub(crate) tally: Tally,
}

impl Scene {
    /// The address of one attacker: each has its own, and no two attacks have the same.
    pub(crate) fn address(&self, number: usize) -> Ipv4Addr {
        let part = |value: usize| u8::try_from(value % 250).unwrap_or_default();
        Ipv4Addr::new(127, 1 + self.attack, part(number / 250), 1 + part(number))
    }

    /// When those who wait for the broker to end them give up.
    pub(crate) fn gives_up(&self) -> Instant {
        self.until + self.lasts + self.settings.deadline * 3 + PATIENCE
    }

    /// Whether it goes on.
    pub(crate) fn is_on(&self) -> bool {
        Instant::now() < self.until
    }

    /// Runs so many attackers at the same time, each with its number, until all have ended. What keeps one from
    /// attacking is counted.
    pub(crate) fn run<F, A>(&self, count: usize, attacker: F) -> Run
    where
        F: Fn(Self, usize) -> A + 'static,
        A: Future<Output = io::Result<()>> + 'static,
    {
        let scene = self.clone();
        Box::pin(async move {
            let mut attackers = JoinSet::new();
            for number in 0..count {
                let (attack, tally) = (attacker(scene.clone(), number), scene.tally.clone());
                attackers.spawn_local(async move {
                    if let Err(error) = attack.await {
                        tally.count(format!("could not: {}", first_line(&error)));
                    }
                });
                // So that they do not all begin before the first is answered.
                if number % CONNECTING == CONNECTING - 1 {
                    tokio::task::yield_now().await;
                }
            }
            while attackers.join_next().await.is_some() {}
            Ok(())
        })
    }

    /// Tries again and again until the attack ends, whatever keeps it from succeeding.
    pub(crate) async fn again(&self, mut attempt: impl AsyncFnMut() -> io::Result<()>) {
        while self.is_on() {
            if let Err(error) = attempt().await {
                self.tally.count(format!("could not: {}", first_line(&error)));
                tokio::time::sleep(AFTER_FAILURE).await;
            }
        }
    }
}

fn first_line(error: &io::Error) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().chars().take(100).collect()
}

/// What happened, and how often. Copies are of the same one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally(Rc<RefCell<BTreeMap<String, u64>>>);

impl Tally {
    /// It happened once.
    pub(crate) fn count(&self, what: impl Into<String>) {
        self.add(what, 1);
    }

    /// It happened so many times.
    pub(crate) fn add(&self, what: impl Into<String>, times: u64) {
        *self.0.borrow_mut().entry(what.into()).or_default() += times;
    }

    /// Remembers the largest value.
    pub(crate) fn largest(&self, what: impl Into<String>, value: u64) {
        let mut all = self.0.borrow_mut();
        let largest = all.entry(what.into()).or_default();
        *largest = value.max(*largest);
    }

    /// All of it, as JSON in one line.
    pub(crate) fn to_json(&self) -> String {
        serde_json::json!(*self.0.borrow()).to_string()
    }
}
