//! How long the steps of a message's way take, one by one: decode, match, fan-out, encode, outbox, store.
//!
//! Times are of one machine and one moment: compare them only with a baseline of the same machine (`make bench-micro
//! BASELINE=name`). What must not grow whatever the machine is in `instructions`.

#[path = "../fixtures/mod.rs"]
mod fixtures;

mod codec;
mod routing;
mod store;

use criterion::{Criterion, criterion_main};

fn micro() {
    let mut criterion = Criterion::default().configure_from_args();
    codec::decode(&mut criterion);
    codec::encode(&mut criterion);
    routing::matching(&mut criterion);
    routing::fan_out(&mut criterion);
    routing::outbox(&mut criterion);
    store::store(&mut criterion);
}

criterion_main!(micro);
