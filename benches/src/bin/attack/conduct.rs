//! The course of it: quiet, attack, quiet, for each attack in turn.

use std::{
    io::{self, BufRead, BufReader, Error},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use carillon_benches::{
    broker::Broker,
    machine::{raise_open_files, set_priority},
};

use crate::{
    Args,
    attacks::{Attack, Evidence},
    machine::{FIRST, OPEN_FILES, Part, Processors},
    pair::{Pair, Window},
    report,
    settings::Settings,
    site::{Credentials, Site, authority},
    verdict::{Check, Measured},
};

/// For the broker to see that the attackers have gone.
const GONE_WITHIN: Duration = Duration::from_secs(10);
/// Quiet windows, as a part of the attack's.
const QUIET_SHARE: f64 = 0.6;

/// The broker, the pair, and who starts the attackers.
struct Course<'a> {
    args: &'a Args,
    processors: Processors,
    site: Site,
    broker: Broker,
    pair: Pair,
    settings: Settings,
}

/// Runs the attacks; whether all were held off.
pub(crate) fn conduct(args: &Args, attacks: &[&Attack]) -> io::Result<bool> {
    raise_open_files(OPEN_FILES)?;
    let settings = args.settings();
    let site = Site::make(&args.carillon, &settings)?;
    let processors = Processors::share();
    let priority = set_priority(FIRST);
    processors.enter(Part::Broker)?;
    let broker = Broker::start(&args.carillon, &site.config(), &[])?;
    processors.enter(Part::Pair)?;
    if !args.json {
        println!("{}", processors.describe());
        if let Err(error) = priority {
            println!("priority: broker and pair have no higher one than the attackers: {error}");
        }
        report::heading();
    }
    let target = broker.target(&authority(site.path()))?;
    let pair = Pair::start(&target, &Credentials::read(site.path())?.pair)?;
    thread::sleep(Duration::from_secs(1));
    let mut course = Course { args, processors, site, broker, pair, settings };
    let mut all_held = true;
    let mut results = Vec::new();
    for attack in attacks {
        let measured = course.measure(attack)?;
        let verdict = measured.judge(args.check);
        all_held &= verdict.complaints.is_empty();
        if args.json {
            results.push(report::to_json(&measured, &verdict));
        } else {
            report::line(&measured, &verdict);
        }
    }
    let (sent, unaccepted) = course.pair.end();
    if args.json {
        let whole =
            serde_json::json!({ "held": all_held, "messages": sent, "unaccepted": unaccepted, "attacks": results });
        println!("{whole:#}");
    } else {
        println!("the pair sent {sent} messages; {unaccepted} of them were not accepted");
    }
    Ok(all_held && unaccepted == 0)
}

impl Course<'_> {
    fn measure<'a>(&mut self, attack: &'a Attack) -> io::Result<Measured<'a>> {
        self.site.let_in(attack.name)?;
        let mut quiet = self.quiet();
        let (counted_before, connections) = (self.broker.metrics()?, self.broker.connections()?);
        let before = self.broker.usage()?;
        let memory = self.broker.watch_memory();

        let (mark, started) = (self.pair.mark(), Instant::now());
        let attackers = Attackers::start(self, attack)?;
        let (attackers, told) = attackers.wait()?;
        let lasted = started.elapsed();
        let attacked = self.pair.window(mark);
        let (after, counted) = (self.broker.usage()?, self.broker.metrics()?.since(&counted_before));
        attackers.end()?;

        let gone_by = Instant::now() + GONE_WITHIN;
        // One newcomer may be there by chance.
        while self.broker.connections()? > connections + 1.0 && Instant::now() < gone_by {
            thread::sleep(Duration::from_millis(50));
        }
        let later = self.quiet();
        let peak_kib = memory.end();
        quiet.latencies.extend(later.latencies);
        quiet.lost += later.lost;
        quiet.incidents.extend(later.incidents);
        Ok(Measured {
            attack,
            quiet,
            attacked,
            lasted,
            before,
            after,
            peak_kib,
            allowed_kib: before.resident_kib + (attack.holds)(self.args.size).bytes().div_ceil(1 << 10),
            left_kib: self.broker.usage()?.resident_kib,
            evidence: Evidence { tally: told, counted },
            is_alive: self.broker.is_alive(),
        })
    }

    /// A window without an attack. It tells nothing where latencies are not judged.
    fn quiet(&self) -> Window {
        let mark = self.pair.mark();
        thread::sleep(match self.args.check {
            Check::All => Duration::from_secs_f64(self.args.seconds * QUIET_SHARE),
            Check::Structure => Duration::from_millis(100),
        });
        self.pair.window(mark)
    }
}

/// The process of the attackers.
struct Attackers {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
}

impl Attackers {
    fn start(course: &Course<'_>, attack: &Attack) -> io::Result<Self> {
        let program: PathBuf = std::env::current_exe()?;
        // Children run where the thread runs that starts them.
        course.processors.enter(Part::Attackers)?;
        let child = Command::new(program)
            .arg(attack.name)
            .arg("--attacker-of")
            .arg(course.site.path())
            .args(["--address", &course.broker.address().to_string()])
            .args(["--seconds", &course.args.seconds.to_string()])
            .args(["--shards", &course.settings.shards.to_string()])
            .args(["--size", if course.args.size == crate::scene::Size::Full { "full" } else { "small" }])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        course.processors.enter(Part::Pair)?;
        let mut child = child?;
        match child.stdout.take() {
            Some(out) => Ok(Self { child, out: BufReader::new(out) }),
            None => Err(Error::other("the attackers have no standard output")),
        }
    }

    /// Waits for the end of the attack; the attackers' connections are still there then.
    fn wait(mut self) -> io::Result<(Self, std::collections::BTreeMap<String, u64>)> {
        let mut line = String::new();
        self.out.read_line(&mut line)?;
        match serde_json::from_str(&line) {
            Ok(tally) => Ok((self, tally)),
            Err(_) => Err(Error::other("the attackers' process has failed")),
        }
    }

    /// Lets them go.
    fn end(mut self) -> io::Result<()> {
        drop(self.child.stdin.take());
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Attackers {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
