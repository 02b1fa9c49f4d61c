//! How much one may do: rates, counts, and who shares them.
//!
//! - [`Bucket`] is a token bucket: a [`Rate`] for each second, and a burst on top.
//! - [`Count`] is how many of something there are at once, against a most.
//! - [`Quotas`] are all bounds on one connection, identity or address, and [`Usage`] is what it has used of them.
//! - [`Table`] keeps a value for each identity or [`Network`], in bounded memory.
//!
//! Each takes the limit as an argument, so that a changed configuration holds at once for what is there already, and
//! answers with an [`Outcome`]. A limit that is only reported says what it would have refused.
//!
//! Times are nanoseconds of a clock that only measures, from any origin. One that stands still gives nothing back,
//! and so does one that goes back, until it is where it was.
//!
//! What is known only afterwards, such as a failed login, is taken before and [given back](Bucket::give_back) if it
//! did not happen; so a thousand attempts at once do not all pass before the first has failed.
//!
//! ```
//! use std::time::Duration;
//!
//! use carillon_access::quota::{Bucket, Excess, Mode, Outcome, Rate};
//!
//! // Ten a second, and five at once.
//! let rate = Rate::new(10, 5)?;
//! let mut bucket = Bucket::full(0);
//! for _ in 0..5 {
//!     assert_eq!(bucket.take(&rate, Mode::Enforce, 1, 0), Outcome::Within);
//! }
//! let excess = Excess::Rate { retry_after: Duration::from_millis(100) };
//! assert_eq!(bucket.take(&rate, Mode::Enforce, 1, 0), Outcome::Refused(excess));
//! assert_eq!(bucket.take(&rate, Mode::Enforce, 1, 100_000_000), Outcome::Within);
//! # Ok::<(), carillon_access::quota::RateError>(())
//! ```

mod bucket;
mod count;
mod network;
mod outcome;
mod quotas;
mod table;
mod usage;

pub use bucket::{Bucket, MAX_BURST, Rate, RateError};
pub use count::Count;
pub use network::Network;
pub use outcome::{Excess, Mode, Outcome};
pub use quotas::{Most, Pace, Quota, Quotas};
pub use table::{Idle, Place, Table};
pub use usage::{Answer, OverQuota, Reported, Usage};
