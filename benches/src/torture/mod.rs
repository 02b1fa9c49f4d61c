//! Torture for streams: a broker of its own is killed, loses its power, its disk fails or fills up, its clients come and
//! go; and afterwards everything that it had promised must be there.
//!
//! What was promised is written down in one place (`books`): what was acknowledged, and what was delivered. Publishers and
//! subscribers write there, and a look at the streams on a quiet broker (`check`) compares. A contradiction ends the run,
//! and is told with the seed that the run can be repeated with, as far as the machine's timing lets it.
//!
//! The checks share nothing with the broker but the wire codec: no client library, no store.
//!
//! Start with [`kill()`]; the others do the same with other misfortunes. Everything happens on loopback and in temporary
//! directories, and is bounded in time and number.

#![expect(clippy::indexing_slicing, reason = "all indexes are of lists that were made here")]

mod books;
mod broker;
mod chaos;
mod check;
mod clients;
mod faults;
mod history;
mod kill;
mod plan;
mod power;
mod publisher;
mod queries;
mod rounds;
mod run;
mod site;
mod subscriber;
mod subscription;
mod trouble;
mod volume;

pub use self::{
    chaos::chaos,
    faults::{disk_full, faults},
    kill::{kill, kill_and_damage},
    power::power,
    run::{Options, Summary},
    trouble::Torture,
    volume::FileSystem,
};
