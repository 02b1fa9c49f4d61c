//! What a piece of work costs the broker, and how much the machine did beside.

use std::{
    io,
    time::{Duration, Instant},
};

use carillon_bench::process::Usage;
use carillon_benches::{broker::Broker, machine};

/// A reading, from which on is measured.
pub(crate) struct Meter {
    begun: Instant,
    broker: Usage,
    own: Usage,
    busy: Duration,
}

/// What was used since a reading.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cost {
    /// How long it took.
    pub(crate) lasted: Duration,
    /// Processor time of the broker.
    pub(crate) cpu: Duration,
    /// The most memory that the broker had in RAM, in KiB.
    pub(crate) peak_kib: u64,
    /// Processor time of this program, for each second: near 1, it is what is slow.
    pub(crate) own: f64,
    /// Processor time of everybody but the broker and this program, for each second.
    pub(crate) others: f64,
}

impl Meter {
    /// Begins, and forgets the broker's peak of memory so far.
    pub(crate) fn begin(broker: &Broker) -> io::Result<Self> {
        broker.forget_peak()?;
        Ok(Self {
            broker: broker.usage()?,
            own: Usage::of(std::process::id())?,
            busy: machine::busy()?,
            begun: Instant::now(),
        })
    }

    /// What was used so far.
    pub(crate) fn read(&self, broker: &Broker) -> io::Result<Cost> {
        let lasted = self.begun.elapsed();
        let cpu = broker.usage()?.cpu.saturating_sub(self.broker.cpu);
        let own = Usage::of(std::process::id())?.cpu.saturating_sub(self.own.cpu);
        let others = machine::busy()?.saturating_sub(self.busy).saturating_sub(cpu + own);
        let share = |time: Duration| time.as_secs_f64() / lasted.as_secs_f64();
        Ok(Cost { lasted, cpu, peak_kib: broker.usage()?.peak_kib, own: share(own), others: share(others) })
    }
}
