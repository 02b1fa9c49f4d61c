//! What became of the messages.

use std::process::ExitCode;

use carillon_client::PublishError;

use crate::commands::{EXIT_FAILURE, connection::EXIT_REFUSED, fail};

/// Counts outcomes, and remembers the first failure of each kind for the person who asked.
#[derive(Debug, Default)]
pub(super) struct Tally {
    accepted: u64,
    refused: Failures,
    /// Not sent, or not known to be accepted.
    lost: Failures,
    has_client_ended: bool,
}

#[derive(Debug, Default)]
struct Failures {
    count: u64,
    first: Option<PublishError>,
}

impl Failures {
    fn add(&mut self, error: PublishError) {
        self.count += 1;
        self.first.get_or_insert(error);
    }
}

impl Tally {
    pub(super) fn count(&mut self, outcome: Result<(), PublishError>) {
        match outcome {
            Ok(()) => self.accepted += 1,
            Err(
                error @ (PublishError::Refused(_)
                | PublishError::TooLarge { .. }
                | PublishError::InvalidTopic { .. }
                | PublishError::InvalidMessageId { .. }),
            ) => self.refused.add(error),
            Err(error) => {
                self.has_client_ended |= matches!(error, PublishError::Ended(_));
                self.lost.add(error);
            }
        }
    }

    /// Whether nothing more can be published.
    pub(super) fn has_client_ended(&self) -> bool {
        self.has_client_ended
    }

    /// Tells what went wrong and gives the exit status for it.
    pub(super) fn report(&self) -> ExitCode {
        let total = self.accepted + self.refused.count + self.lost.count;
        let mut code = ExitCode::SUCCESS;
        // The worse one comes last and decides.
        for (failures, status, what) in [
            (&self.refused, EXIT_REFUSED, "refused"),
            (&self.lost, EXIT_FAILURE, "not sent, or not known to be accepted"),
        ] {
            match &failures.first {
                None => {}
                Some(error) if total == 1 => code = fail(status, error),
                Some(error) => {
                    code = fail(status, &format_args!("{} of {total} were {what}; the first: {error}", failures.count));
                }
            }
        }
        code
    }
}

#[cfg(test)]
mod tests {
    use carillon_client::ConnectionLost;

    use super::*;

    fn exit_of(outcomes: Vec<Result<(), PublishError>>) -> String {
        let mut tally = Tally::default();
        for outcome in outcomes {
            tally.count(outcome);
        }
        format!("{:?}", tally.report())
    }

    fn status(code: u8) -> String {
        format!("{:?}", ExitCode::from(code))
    }

    #[test]
    fn the_worst_outcome_decides_the_exit_status() {
        let too_large = || Err(PublishError::TooLarge { bytes: 2, max_bytes: 1 });
        let unknown = || Err(PublishError::OutcomeUnknown(ConnectionLost::ClosedByApplication));
        assert_eq!(exit_of(vec![]), status(0));
        assert_eq!(exit_of(vec![Ok(()), Ok(())]), status(0));
        assert_eq!(exit_of(vec![Ok(()), too_large()]), status(EXIT_REFUSED));
        assert_eq!(exit_of(vec![unknown(), too_large()]), status(EXIT_FAILURE));
    }

    #[test]
    fn an_ended_client_takes_no_more() {
        let mut tally = Tally::default();
        tally.count(Err(PublishError::OutcomeUnknown(ConnectionLost::ClosedByApplication)));
        assert!(!tally.has_client_ended());
        tally.count(Err(PublishError::Ended(ConnectionLost::ClosedByApplication)));
        assert!(tally.has_client_ended());
    }
}
