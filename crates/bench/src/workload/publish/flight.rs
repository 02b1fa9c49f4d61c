//! Publications whose acknowledgement has not come.

use std::collections::VecDeque;

/// One connection's publications that wait for their acknowledgement, in the order in which they were sent.
#[derive(Debug, Default)]
pub(super) struct Flight {
    /// The request's number of the first.
    first: u32,
    /// When each was due; none where its acknowledgement has come before that of an earlier one.
    due_ns: VecDeque<Option<u64>>,
}

impl Flight {
    /// How many there may be more before one waits that was sent `limit` earlier.
    pub(super) fn room(&self, limit: usize) -> usize {
        limit.saturating_sub(self.due_ns.len())
    }

    /// Adds one. Numbers of requests go up by one each time.
    pub(super) fn add(&mut self, request: u32, due_ns: u64) {
        if self.due_ns.is_empty() {
            self.first = request;
        }
        self.due_ns.push_back(Some(due_ns));
    }

    /// Takes one out whose answer came, and tells when it was due; 0: the oldest.
    pub(super) fn take(&mut self, request: u32) -> Option<u64> {
        let index = match request {
            0 => self.due_ns.iter().position(Option::is_some)?,
            request => usize::try_from(request.checked_sub(self.first)?).ok()?,
        };
        let due_ns = self.due_ns.get_mut(index)?.take();
        while let Some(None) = self.due_ns.front() {
            self.due_ns.pop_front();
            self.first = self.first.wrapping_add(1);
        }
        due_ns
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_a_map(steps in prop::collection::vec(prop_oneof![Just(None), (0..30u32).prop_map(Some)], 0..100)) {
            let (mut flight, mut model, mut next) = (Flight::default(), BTreeMap::new(), 1);
            for step in steps {
                match step {
                    None => {
                        flight.add(next, u64::from(next) * 7);
                        model.insert(next, u64::from(next) * 7);
                        next += 1;
                    }
                    Some(0) => prop_assert_eq!(flight.take(0), model.pop_first().map(|(_, due_ns)| due_ns)),
                    Some(request) => prop_assert_eq!(flight.take(request), model.remove(&request)),
                }
                let sent_since_oldest = model.keys().next().map_or(0, |oldest| next - oldest) as usize;
                prop_assert_eq!(flight.room(50), 50_usize.saturating_sub(sent_since_oldest));
            }
        }
    }
}
