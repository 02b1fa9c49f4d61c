//! Who subscribed to one pattern.

use carillon_wire::Overflow;

/// Set in a subscriber's slot where its policy is to close.
const CLOSES: u32 = 1 << 31;
/// Slots are below this.
pub(crate) const MAX_SLOTS: usize = CLOSES as usize;
/// A smaller list keeps its memory when subscribers leave.
const SMALL_CAPACITY: usize = 16;

/// One subscription of one connection. The policy is here too, so that a delivery reads nothing but the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subscriber {
    /// Index of the connection.
    pub(crate) connection: u32,
    slot_and_policy: u32,
}

/// What becomes of a subscription's messages when they find no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    DropOldest,
    Close,
}

impl Policy {
    pub(crate) const fn new(overflow: Overflow) -> Option<Self> {
        match overflow {
            Overflow::DropOldest => Some(Self::DropOldest),
            Overflow::Close => Some(Self::Close),
            _ => None,
        }
    }
}

impl Subscriber {
    pub(crate) const fn new(connection: u32, slot: u32, policy: Policy) -> Self {
        let slot_and_policy = match policy {
            Policy::DropOldest => slot,
            Policy::Close => slot | CLOSES,
        };
        Self { connection, slot_and_policy }
    }

    /// Place of the subscription in its connection.
    pub(crate) const fn slot(self) -> u32 {
        self.slot_and_policy & !CLOSES
    }

    pub(crate) const fn policy(self) -> Policy {
        if self.slot_and_policy & CLOSES == 0 { Policy::DropOldest } else { Policy::Close }
    }
}

/// The subscribers of one pattern, in no order. Most patterns have one, and then no memory beside these 16 bytes.
#[derive(Debug, Default)]
pub(crate) enum Subscribers {
    #[default]
    None,
    One(Subscriber),
    #[expect(
        clippy::box_collection,
        reason = "a Vec would make every list 24 bytes, and nearly all have one subscriber"
    )]
    Many(Box<Vec<Subscriber>>),
}

const _: () = assert!(size_of::<Subscribers>() == 16);

impl Subscribers {
    pub(crate) fn as_slice(&self) -> &[Subscriber] {
        match self {
            Self::None => &[],
            Self::One(subscriber) => std::slice::from_ref(subscriber),
            Self::Many(list) => list,
        }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }

    /// Adds one and tells its position.
    pub(crate) fn push(&mut self, subscriber: Subscriber) -> u32 {
        let position = self.as_slice().len();
        match self {
            Self::None => *self = Self::One(subscriber),
            Self::One(first) => *self = Self::Many(Box::new(vec![*first, subscriber])),
            Self::Many(list) => list.push(subscriber),
        }
        u32::try_from(position).expect("a list has at most the shard's 2^27 subscriptions")
    }

    /// Removes the one at a position. The last one takes that position; it is returned when it is another.
    pub(crate) fn swap_remove(&mut self, position: u32) -> Option<Subscriber> {
        let Self::Many(list) = self else {
            *self = Self::None;
            return None;
        };
        let position = position as usize;
        if position >= list.len() {
            debug_assert!(false, "position {position} of a list of {}", list.len());
            return None;
        }
        list.swap_remove(position);
        let moved = list.get(position).copied();
        if let &[last] = list.as_slice() {
            *self = Self::One(last);
        } else if list.capacity() > SMALL_CAPACITY && list.len() < list.capacity() / 4 {
            list.shrink_to(list.len() * 2);
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscriber(slot: u32) -> Subscriber {
        Subscriber::new(7, slot, Policy::Close)
    }

    #[test]
    fn policy_and_slot_share_a_number() {
        for slot in [0, 1, CLOSES - 1] {
            for policy in [Policy::DropOldest, Policy::Close] {
                let subscriber = Subscriber::new(3, slot, policy);
                assert_eq!((subscriber.slot(), subscriber.policy()), (slot, policy));
            }
        }
    }

    #[test]
    fn last_subscriber_takes_the_place_of_the_removed_one() {
        let mut list = Subscribers::default();
        for slot in 0..4 {
            assert_eq!(list.push(subscriber(slot)), slot);
        }
        assert_eq!(list.swap_remove(1), Some(subscriber(3)));
        assert_eq!(list.swap_remove(2), None, "the last one has nobody behind it");
        assert_eq!(list.swap_remove(0), Some(subscriber(3)));
        assert_eq!(list.as_slice(), [subscriber(3)]);
        assert_eq!(list.swap_remove(0), None);
        assert!(list.is_empty());
    }

    #[test]
    fn list_that_shrinks_gives_its_memory_back() {
        let mut list = Subscribers::default();
        for slot in 0..10_000 {
            list.push(subscriber(slot));
        }
        for _ in 0..9_990 {
            list.swap_remove(0);
        }
        let Subscribers::Many(rest) = list else { panic!("ten are left") };
        assert!(rest.capacity() <= 64, "{}", rest.capacity());
    }
}
