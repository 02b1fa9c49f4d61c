//! What all measures share: the arguments, where who runs, and a store that was filled once.

use std::{
    fs::File,
    io::{self, Error},
    process::Command,
    rc::Rc,
    time::Instant,
};

use carillon_benches::{broker::Broker, machine};

use crate::{
    Args, Processors,
    publishers::{Pace, Plan, Publishers},
    site::{STREAM, Settings, Site, Streams, topics},
};

/// Publications in flight while a store is filled.
const FILLING: usize = 8_192;
/// Sites that topics are spread over, where there is one stream.
pub(crate) const SITES: usize = 1_000;

/// What all measures share.
pub(crate) struct Bench {
    /// What was asked for.
    pub(crate) args: Args,
    topics: Rc<[String]>,
    brokers: Vec<usize>,
    own: Vec<usize>,
    filled: Option<Rc<Site>>,
}

impl Bench {
    /// Moves this thread to its processor.
    pub(crate) fn new(args: Args) -> io::Result<Self> {
        let allowed = machine::allowed();
        let (brokers, own) = match (args.processors, allowed.as_slice()) {
            (Processors::Apart, &[broker, own, ..]) => (vec![broker], vec![own]),
            (Processors::Apart, _) => {
                return Err(Error::other("there is one processor; measure with --processors shared"));
            }
            (Processors::Shared, _) => (allowed.clone(), allowed),
        };
        machine::enter(&own)?;
        let topics = topics(args.topics, SITES.min(args.topics)).into();
        Ok(Self { args, topics, brokers, own, filled: None })
    }

    /// The topics of publications.
    pub(crate) fn topics(&self) -> Rc<[String]> {
        Rc::clone(&self.topics)
    }

    /// Files for a new broker.
    pub(crate) fn site(&self, streams: Streams) -> io::Result<Rc<Site>> {
        let settings = Settings { shards: self.args.shards.clone(), streams };
        Site::make(&self.args.carillon, &self.args.directory, &settings).map(Rc::new)
    }

    /// Starts a broker on its processor.
    pub(crate) fn start(&self, site: &Site) -> io::Result<Broker> {
        self.start_within(site, &[])
    }

    /// Starts a broker on its processor, as the last arguments of a command that becomes it.
    pub(crate) fn start_within(&self, site: &Site, wrapper: &[&str]) -> io::Result<Broker> {
        machine::enter(&self.brokers)?;
        let broker = Broker::start(&self.args.carillon, &site.config(), wrapper);
        machine::enter(&self.own)?;
        let broker = broker?;
        eprintln!("  broker {} was ready after {:.3} s", broker.pid(), broker.ready_after().as_secs_f64());
        Ok(broker)
    }

    /// Publications as the arguments want them.
    pub(crate) fn plan(&self, site: &Site, broker: &Broker, pace: Pace) -> io::Result<Plan> {
        Ok(Plan {
            target: broker.target(&site.authority())?,
            connections: self.args.connections,
            topics: self.topics(),
            payload_bytes: self.args.payload_bytes,
            message_ids: self.args.message_ids,
            pace,
            count: u64::MAX,
        })
    }

    /// A store with many messages, which is filled when it is asked for first, and a broker on it.
    #[expect(clippy::cast_precision_loss, reason = "for people to read")]
    pub(crate) async fn filled(&mut self) -> io::Result<(Rc<Site>, Broker)> {
        if let Some(site) = &self.filled {
            return Ok((Rc::clone(site), self.start(site)?));
        }
        let site = self.site(Streams::One)?;
        let broker = self.start(&site)?;
        let begun = Instant::now();
        let mut plan = self.plan(&site, &broker, Pace::Closed { in_flight: FILLING })?;
        plan.count = self.args.kept;
        Publishers::start(plan).await?.end().await?;
        let rate = self.args.kept as f64 / begun.elapsed().as_secs_f64();
        let kept = broker.settled_metrics().await?.sum(&format!("carillon_stream_messages{{stream=\"{STREAM}\"}}"));
        eprintln!("  filled with {kept:.0} messages, {rate:.0} in each second");
        self.filled = Some(Rc::clone(&site));
        Ok((site, broker))
    }
}

/// Takes a site's files out of the system's cache, so that they come from the disk next.
pub(crate) fn forget_files(site: &Site) -> io::Result<()> {
    for path in site.data_files()? {
        // What is not written yet cannot be forgotten.
        File::open(&path)?.sync_all()?;
        let done = Command::new("dd")
            .arg(format!("if={}", path.display()))
            .args(["iflag=nocache", "count=0", "status=none"])
            .status()?;
        if !done.success() {
            return Err(Error::other(format!("dd cannot take {} out of the cache", path.display())));
        }
    }
    Ok(())
}
