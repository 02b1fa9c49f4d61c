//! Deliveries that are for one subscription or one request alone, because what stands before them says so.

use std::sync::Arc;

use carillon_wire::{
    CloseCode, Id,
    broker_message::{Delivery, Gap as WireGap, Marker, Page},
};

use super::{Pending, Session};
use crate::{
    command::HistoryRequest,
    error::{ConnectionLost, HistoryError},
    event::Gap,
    history::{HistoryItem, HistoryPage},
    message::{Message, Place},
    position::Position,
};

/// What an item of a page is counted with beside its own bytes.
const ITEM_OVERHEAD_BYTES: usize = 128;

/// For whom the next deliveries are.
#[derive(Debug)]
pub(super) enum Covered {
    /// A marker's subscription; at least one is left.
    Subscription { subscription: Id, stream: Arc<str>, left: u64 },
    /// A request for history; a delivery or a gap is left.
    Page(Box<Collecting>),
}

/// A page of history that comes.
#[derive(Debug)]
pub(super) struct Collecting {
    id: Id,
    page: HistoryPage,
    /// Deliveries.
    left: u64,
    /// Gaps.
    gaps_left: u64,
    size_bytes: usize,
}

impl Collecting {
    fn add(&mut self, item: HistoryItem, bytes: usize, max_bytes: usize) {
        self.size_bytes = self.size_bytes.saturating_add(bytes + ITEM_OVERHEAD_BYTES);
        if self.size_bytes > max_bytes {
            // What was collected is of no use any more.
            self.page.items = Vec::new();
        } else {
            self.page.items.push(item);
        }
    }
}

/// The first sequence that an item is about.
fn order(item: &HistoryItem) -> u64 {
    match item {
        HistoryItem::Message(message) => message.sequence().unwrap_or_default(),
        HistoryItem::Gap(gap) => gap.range.as_ref().map_or(0, |range| range.first),
        HistoryItem::EpochChanged { .. } => 0,
    }
}

fn broken(reason: String) -> ConnectionLost {
    ConnectionLost::Protocol { code: CloseCode::BadMessage, reason }
}

impl Session {
    pub(super) fn on_marker(&mut self, marker: &Marker<'_>) -> Result<(), ConnectionLost> {
        self.table.fell_behind(marker).map_err(|error| broken(error.to_string()))?;
        if marker.count == 0 {
            return Ok(());
        }
        self.expect_uncovered()?;
        let stream = self.table.names.get(marker.stream);
        self.covered = Some(Covered::Subscription { subscription: marker.subscription, stream, left: marker.count });
        Ok(())
    }

    pub(super) fn on_page(&mut self, page: &Page<'_>) -> Result<(), ConnectionLost> {
        self.expect_uncovered()?;
        let (stream, epoch) = (self.table.names.get(page.stream), self.table.names.get(page.epoch));
        let (is_end, as_of) = (page.is_end, page.as_of);
        let position = Position::told(epoch, page.sequence);
        let page_of = HistoryPage { stream, items: Vec::new(), position, is_end, as_of };
        let (left, gaps_left) = (page.count, page.gaps);
        let collecting = Collecting { id: page.id, page: page_of, left, gaps_left, size_bytes: 0 };
        self.covered = Some(Covered::Page(Box::new(collecting)));
        self.finish_page();
        Ok(())
    }

    /// To mix up who gets what would be a loss in silence.
    fn expect_uncovered(&self) -> Result<(), ConnectionLost> {
        let left = match &self.covered {
            None => return Ok(()),
            Some(Covered::Subscription { left, .. }) => *left,
            Some(Covered::Page(collecting)) => collecting.left.saturating_add(collecting.gaps_left),
        };
        Err(broken(format!("{left} deliveries or gaps that a marker or a page announced did not come")))
    }

    /// Takes a delivery if it is covered. Returns whether it is.
    pub(super) fn on_covered(
        &mut self,
        delivery: &Delivery<'_>,
        message: impl FnOnce() -> Message,
    ) -> Result<bool, ConnectionLost> {
        let Some(covered) = &mut self.covered else { return Ok(false) };
        let (left, stream) = match covered {
            Covered::Subscription { left, stream, .. } => (left, &*stream),
            Covered::Page(collecting) => (&mut collecting.left, &collecting.page.stream),
        };
        if *left == 0 {
            return Ok(false);
        }
        *left -= 1;
        let is_last = *left == 0;
        if delivery.in_stream.is_none_or(|place| place.stream != &**stream) {
            return Err(broken(format!(
                "a marker or a page of the stream {stream} covers a delivery that is not in it"
            )));
        }
        match covered {
            Covered::Subscription { subscription, .. } => {
                let subscription = *subscription;
                if is_last {
                    self.covered = None;
                }
                let given = self.table.deliver_marked(subscription, delivery, message());
                self.count_given(given);
            }
            Covered::Page(collecting) => {
                let mut message = message();
                let stream = Arc::clone(&collecting.page.stream);
                let epoch = Some(collecting.page.position.epoch_shared());
                let sequence = delivery.in_stream.map_or(0, |place| place.sequence);
                message.place = Some(Place { stream, sequence, epoch });
                let bytes = message.size_bytes();
                collecting.add(HistoryItem::Message(message), bytes, self.max_page_bytes);
                self.finish_page();
            }
        }
        Ok(true)
    }

    /// Takes a gap if it is a page's. Returns whether it is.
    pub(super) fn on_gap_of_page(&mut self, gap: &WireGap<'_>) -> bool {
        let Some(Covered::Page(collecting)) = &mut self.covered else { return false };
        if collecting.id != gap.subscription {
            return false;
        }
        collecting.gaps_left = collecting.gaps_left.saturating_sub(1);
        // Where nothing is pending, who asked has given up.
        if let Some(Pending::History(request)) = self.pending.get(&collecting.id) {
            let pattern = request.pattern.clone();
            let range = gap.range.map(|range| self.table.range(&range));
            let gap = Gap { pattern, reason: gap.reason, count: gap.count, range };
            collecting.add(HistoryItem::Gap(gap), 0, self.max_page_bytes);
        }
        self.finish_page();
        true
    }

    /// Hands a page over once all of it is there.
    fn finish_page(&mut self) {
        let Some(Covered::Page(collecting)) = self.covered.take_if(|it| match it {
            Covered::Page(collecting) => collecting.left == 0 && collecting.gaps_left == 0,
            Covered::Subscription { .. } => false,
        }) else {
            return;
        };
        let Collecting { id, mut page, size_bytes, .. } = *collecting;
        let Some(Pending::History(request)) = self.pending.remove(&id) else { return };
        let HistoryRequest { reply, .. } = *request;
        let outcome = if size_bytes > self.max_page_bytes {
            Err(HistoryError::PageTooLarge { max_bytes: self.max_page_bytes })
        } else {
            page.items.sort_by_key(order);
            Ok(page)
        };
        let _ = reply.send(outcome);
    }
}
