//! How the servers are spoken to, one file each. Carillon's dialect is in `carillon-bench`.
//!
//! A dialect keeps nothing between two calls: bytes that are not whole yet come again, so each is tested by cutting what a
//! server says anywhere.

mod floor;
mod mqtt;
mod nats;
mod nchan;

pub(crate) use self::{floor::Floor, mqtt::Mqtt, nats::Nats, nchan::Nchan};

#[cfg(test)]
mod cut_anywhere {
    //! What a dialect hears does not depend on how the bytes came.

    use carillon_bench::{Dialect, Heard};

    /// What was heard, without what it borrowed.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(crate) enum Said {
        Ready,
        Done(u32),
        Refused(u32, String),
        Delivery(Vec<u8>),
    }

    /// Hears messages of the server, each cut at `cuts` (in per mille of its length), and returns what was heard and answered.
    pub(crate) fn hear<D: Dialect>(dialect: &D, messages: &[Vec<u8>], cuts: &[usize]) -> (Vec<Said>, Vec<u8>) {
        let (mut said, mut answer, mut kept) = (Vec::new(), Vec::new(), Vec::<u8>::new());
        for message in messages {
            let mut ends: Vec<_> = cuts.iter().map(|cut| message.len() * (cut % 1000) / 1000).collect();
            ends.sort_unstable();
            ends.push(message.len());
            let mut begin = 0;
            for end in ends {
                kept.extend_from_slice(&message[begin..end]);
                begin = end;
                let used = dialect
                    .hear(&kept, end == message.len(), &mut answer, &mut |heard| {
                        said.push(match heard {
                            Heard::Ready => Said::Ready,
                            Heard::Done(request) => Said::Done(request),
                            Heard::Refused(request, why) => Said::Refused(request, why.to_owned()),
                            Heard::Delivery(payload) => Said::Delivery(payload.to_vec()),
                            other => panic!("{other:?}"),
                        });
                        Ok(())
                    })
                    .unwrap();
                kept.drain(..used);
            }
        }
        assert!(kept.is_empty(), "{kept:?}");
        (said, answer)
    }
}
