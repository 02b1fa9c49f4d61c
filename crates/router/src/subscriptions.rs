//! The subscriptions of one connection.

use carillon_wire::Id;

use crate::{arena::Arena, hash_index::HashIndex, table::Place};

/// Up to so many subscriptions are searched one by one.
const LINEAR: usize = 16;

/// A connection's subscriptions, each in a slot that names it to the table and the outbox.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    slots: Arena<Subscription>,
    /// From ids to slots, where there are many.
    by_id: Option<Box<HashIndex>>,
}

#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) id: Id,
    /// In the table. None once it was unsubscribed, while the reply still waits.
    pub(crate) place: Option<Place>,
    /// Number of its newest gap, see [`Gaps`](crate::gaps::Gaps).
    pub(crate) newest_gap: u32,
}

const _: () = assert!(size_of::<Subscription>() == 24);

impl Subscriptions {
    /// Those that live and those whose reply to unsubscribe waits.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// All slots are below this number.
    pub(crate) fn end(&self) -> u32 {
        self.slots.end()
    }

    pub(crate) fn find(&self, id: Id) -> Option<u32> {
        match &self.by_id {
            Some(by_id) => by_id.find(&id, |slot| self.slots.get(slot).is_some_and(|it| it.id == id)),
            None => self.slots.iter().find(|(_, it)| it.id == id).map(|(slot, _)| slot),
        }
    }

    pub(crate) fn find_live(&self, id: Id) -> Option<u32> {
        self.find(id).filter(|slot| self.get_live(*slot).is_some())
    }

    /// Those that live, each with its place in the table.
    pub(crate) fn live(&self) -> impl Iterator<Item = (Id, Place)> {
        self.slots.iter().filter_map(|(_, subscription)| Some((subscription.id, subscription.place?)))
    }

    /// One that lives.
    pub(crate) fn get_live(&self, slot: u32) -> Option<&Subscription> {
        self.slots.get(slot).filter(|subscription| subscription.place.is_some())
    }

    /// Where one that lives is in the table.
    pub(crate) fn place(&self, slot: u32) -> Option<Place> {
        self.slots.get(slot)?.place
    }

    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut Subscription> {
        self.slots.get_mut(slot)
    }

    /// Adds one that is not in the table yet, with an id that is not in use.
    pub(crate) fn insert(&mut self, id: Id) -> u32 {
        let slot = self.slots.insert(Subscription { id, place: None, newest_gap: 0 });
        if let Some(by_id) = &mut self.by_id {
            by_id.insert(&id, slot);
        } else if self.slots.len() > LINEAR {
            let mut by_id = Box::<HashIndex>::default();
            for (slot, subscription) in self.slots.iter() {
                by_id.insert(&subscription.id, slot);
            }
            self.by_id = Some(by_id);
        }
        slot
    }

    /// Forgets one that is not in the table any more; its id and slot are free again.
    pub(crate) fn release(&mut self, slot: u32) {
        let Some(removed) = self.slots.remove(slot) else { return };
        if self.slots.len() <= LINEAR / 2 {
            self.by_id = None;
        }
        if let Some(by_id) = &mut self.by_id {
            by_id.remove(&removed.id, slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_while_their_number_crosses_what_is_searched_one_by_one() {
        let mut subscriptions = Subscriptions::default();
        let ids: Vec<Id> = (0..100_u32).map(|n| Id::from(n * 7)).collect();
        for round in 0..3 {
            let slots: Vec<u32> = ids.iter().map(|id| subscriptions.insert(*id)).collect();
            for (id, slot) in ids.iter().zip(&slots) {
                assert_eq!(subscriptions.find(*id), Some(*slot), "round {round}");
            }
            for (n, (id, slot)) in ids.iter().zip(&slots).enumerate() {
                subscriptions.release(*slot);
                assert_eq!(subscriptions.find(*id), None);
                for (id, slot) in ids.iter().zip(&slots).skip(n + 1) {
                    assert_eq!(subscriptions.find(*id), Some(*slot));
                }
            }
            assert_eq!(subscriptions.len(), 0);
        }
    }
}
