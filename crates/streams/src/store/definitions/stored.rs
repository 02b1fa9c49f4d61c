//! What is kept of one stream, and its bytes.

use super::super::bytes::{Bytes, put_text, put_varint};
use crate::stream::{Durability, Epoch, EpochReason, Epochs, PastEpoch};

/// What is kept of one stream beside its messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its number in the [`Log`](super::super::Log), which no other stream ever had or will have.
    pub number: u32,
    /// What its messages survive.
    pub durability: Durability,
    /// What its sequences mean.
    pub epochs: Epochs,
    /// The last sequence that an operator purged; 0 if none was.
    pub purged_through: u64,
}

impl Stored {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_varint(&mut out, u64::from(self.number));
        put_varint(&mut out, durability_number(self.durability));
        put_varint(&mut out, self.purged_through);
        put_text(&mut out, self.epochs.current().as_str());
        put_varint(&mut out, reason_number(self.epochs.reason()));
        for past in self.epochs.past() {
            put_text(&mut out, past.epoch.as_str());
            put_varint(&mut out, past.same_through);
        }
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Bytes(bytes);
        let number = u32::try_from(fields.varint()?).ok()?;
        let durability = durability(fields.varint()?)?;
        let purged_through = fields.varint()?;
        let current = Epoch::new(fields.text()?).ok()?;
        let reason = reason(fields.varint()?)?;
        let mut past = Vec::new();
        while !fields.is_empty() {
            let epoch = Epoch::new(fields.text()?).ok()?;
            past.push(PastEpoch { epoch, same_through: fields.varint()? });
        }
        Some(Self { number, durability, epochs: Epochs::restore(current, reason, past), purged_through })
    }
}

const fn durability_number(durability: Durability) -> u64 {
    match durability {
        Durability::Memory => 1,
        Durability::Disk => 2,
    }
}

const fn durability(number: u64) -> Option<Durability> {
    match number {
        1 => Some(Durability::Memory),
        2 => Some(Durability::Disk),
        _ => None,
    }
}

/// The numbers that they have on the wire.
const fn reason_number(reason: EpochReason) -> u64 {
    match reason {
        EpochReason::Created => 1,
        EpochReason::Restarted => 2,
        EpochReason::Repaired => 3,
        EpochReason::Renewed => 4,
        EpochReason::PositionAhead => 5,
    }
}

const fn reason(number: u64) -> Option<EpochReason> {
    match number {
        1 => Some(EpochReason::Created),
        2 => Some(EpochReason::Restarted),
        3 => Some(EpochReason::Repaired),
        4 => Some(EpochReason::Renewed),
        5 => Some(EpochReason::PositionAhead),
        _ => None,
    }
}
