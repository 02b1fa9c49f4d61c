//! What is said beside application data after the handshake, and what comes of it: with rustls' client, and with one that
//! says what no honest one does.

use std::io::Write as _;

use proptest::prelude::*;
use rustls::{AlertDescription, ContentType, Error, SupportedCipherSuite};

use super::{
    CipherSuite, Heard, Pair, Rogue, Session, hear, pair, receive, rogue_pair, seal, sent, suite, suites, understood,
};
use crate::tls::session::ReadError;

const UPDATE: [u8; 5] = [24, 0, 0, 1, 0];
const UPDATE_AND_ANSWER: [u8; 5] = [24, 0, 0, 1, 1];
/// The alerts of RFC 8446, section 6, that are no errors.
const CLOSE_NOTIFY: [u8; 2] = [1, 0];
const USER_CANCELED: [u8; 2] = [1, 90];

fn tls13() -> impl Iterator<Item = SupportedCipherSuite> {
    suites().filter(|suite| suite.tls13().is_some())
}

fn tls12() -> impl Iterator<Item = SupportedCipherSuite> {
    suites().filter(|suite| suite.tls13().is_none())
}

fn an_aes_suite() -> SupportedCipherSuite {
    suite(CipherSuite::TLS13_AES_128_GCM_SHA256)
}

fn write(client: &mut rustls::ClientConnection, data: &[u8]) -> Vec<u8> {
    let mut records = Vec::new();
    for part in data.chunks(32 << 10) {
        client.writer().write_all(part).unwrap();
        records.append(&mut sent(client));
    }
    records
}

/// The alert that the server has for what it refused.
fn alert_of(server: &mut Session, refused: &Result<Heard, ReadError>) -> Vec<u8> {
    let mut answers = Vec::new();
    server.end(refused.as_ref().unwrap_err(), &mut answers);
    answers
}

/// What a rogue is told after it said this.
fn told(suite: SupportedCipherSuite, said: &[(ContentType, &[u8])]) -> Option<AlertDescription> {
    let (mut server, mut rogue) = rogue_pair(suite);
    told_by(&mut server, &mut rogue, said)
}

fn told_by(server: &mut Session, rogue: &mut Rogue, said: &[(ContentType, &[u8])]) -> Option<AlertDescription> {
    let records: Vec<u8> = said.iter().flat_map(|(kind, content)| rogue.seal(*kind, content)).collect();
    let heard = hear(server, &records);
    if heard.is_ok() {
        return None;
    }
    let alert = alert_of(server, &heard);
    let (kind, content) = rogue.open(&alert);
    assert_eq!((kind, content[0], content.len()), (ContentType::Alert, 2, 2));
    Some(content[1].into())
}

#[test]
fn rustls_understands_what_is_sealed_and_is_understood() {
    for suite in suites() {
        let Pair { mut server, mut client, .. } = pair(suite);
        for bytes in [0, 1, 2, 100, 16_383, 16_384, 16_385, 32_768, 100_000] {
            let data: Vec<u8> = (0..251).cycle().take(bytes).collect();
            let records = seal(&mut server, &data);
            assert_eq!(understood(&mut client, &records), data, "{suite:?}, {bytes}");
            let records = write(&mut client, &data);
            assert_eq!(hear(&mut server, &records).unwrap().data, data, "{suite:?}, {bytes}");
        }
    }
}

proptest! {
    #[test]
    fn nothing_is_read_but_what_was_sealed(
        head in any::<[u8; 3]>(),
        said in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..=255)), 0..30),
    ) {
        let said = said.into_iter().flat_map(|(what, content)| [vec![what, u8::try_from(content.len()).unwrap()], content].concat());
        crate::tls::read_records(&head.into_iter().chain(said).collect::<Vec<u8>>());
    }

    #[test]
    fn all_is_read_that_was_sealed(
        head in any::<[u8; 3]>(),
        said in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..=255), 0..200),
    ) {
        let said = said.into_iter().flat_map(|content| [vec![0, u8::try_from(content.len()).unwrap()], content].concat());
        crate::tls::read_records(&head.into_iter().chain(said).collect::<Vec<u8>>());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn keys_change_on_either_side_at_any_time(turns in prop::collection::vec((0..4_u8, 1..2_000_usize), 1..30)) {
        let Pair { mut server, mut client, .. } = pair(an_aes_suite());
        for (what, bytes) in turns {
            let data = vec![what; bytes];
            match what {
                0 => {
                    let heard = hear(&mut server, &write(&mut client, &data)).unwrap();
                    prop_assert_eq!(heard.data, data);
                }
                1 => {
                    client.refresh_traffic_keys().unwrap();
                    let heard = hear(&mut server, &sent(&mut client)).unwrap();
                    prop_assert!(!heard.answers.is_empty(), "rustls asks for an answer");
                    receive(&mut client, &heard.answers).unwrap();
                    server.on_answers_sent();
                }
                2 => {
                    server.leave_records(1);
                    prop_assert_eq!(understood(&mut client, &seal(&mut server, &data)), data);
                }
                _ => prop_assert_eq!(understood(&mut client, &seal(&mut server, &data)), data),
            }
        }
    }
}

#[test]
fn a_key_is_replaced_before_it_is_used_up_and_in_tls_1_2_the_connection_ends() {
    let data = vec![1; 200_000];
    for suite in tls13() {
        let Pair { mut server, mut client, .. } = pair(suite);
        for left in [5, 2, 1] {
            server.leave_records(left);
            assert_eq!(understood(&mut client, &seal(&mut server, &data)), data, "{suite:?}");
        }
    }
    for suite in tls12() {
        let Pair { mut server, mut client, .. } = pair(suite);
        server.leave_records(2);
        let mut out = vec![0; 100_000];
        let mut gather = data.as_slice().into();
        let sealed = server.seal(&mut gather, &mut out).unwrap();
        assert_eq!(understood(&mut client, &out[..sealed]), data[..2 << 14]);
        assert!(server.seal(&mut gather, &mut out).is_err());
        // What ends it may still be said.
        let mut close = Vec::new();
        server.close(&mut close);
        client.read_tls(&mut close.as_slice()).unwrap();
        assert!(client.process_new_packets().unwrap().peer_has_closed());
    }
}

#[test]
fn one_answer_does_for_all_key_updates_before_it_leaves() {
    let (mut server, mut rogue) = rogue_pair(an_aes_suite());
    // With the same key: the rogue's next is not made here.
    let update = rogue.seal(ContentType::Handshake, &UPDATE_AND_ANSWER);
    let heard = hear(&mut server, &update).unwrap();
    assert_eq!(rogue.open(&heard.answers), (ContentType::Handshake, UPDATE.to_vec()));

    let Pair { mut server, mut client, .. } = pair(an_aes_suite());
    let mut answers = Vec::new();
    for _ in 0..3 {
        client.refresh_traffic_keys().unwrap();
        answers.extend(hear(&mut server, &sent(&mut client)).unwrap().answers);
    }
    receive(&mut client, &answers).unwrap();
    assert_eq!(understood(&mut client, &seal(&mut server, b"after one")), b"after one");
    server.on_answers_sent();
    client.refresh_traffic_keys().unwrap();
    let heard = hear(&mut server, &sent(&mut client)).unwrap();
    assert!(!heard.answers.is_empty());
}

#[test]
fn key_updates_without_data_between_them_come_to_an_end() {
    let Pair { mut server, mut client, .. } = pair(an_aes_suite());
    let mut update = |client: &mut rustls::ClientConnection| {
        client.refresh_traffic_keys().unwrap();
        let heard = hear(&mut server, &sent(client))?;
        server.on_answers_sent();
        // The client counts as well.
        let records = [heard.answers, seal(&mut server, b"x")].concat();
        receive(client, &records).unwrap();
        Ok::<_, ReadError>(())
    };
    for _ in 0..32 {
        update(&mut client).unwrap();
    }
    let refused = update(&mut client).unwrap_err();
    assert!(matches!(refused, ReadError::Refused(refused) if refused.alert == AlertDescription::UnexpectedMessage));

    let Pair { mut server, mut client, .. } = pair(an_aes_suite());
    for _ in 0..100 {
        client.refresh_traffic_keys().unwrap();
        let records = [sent(&mut client), write(&mut client, b"x")].concat();
        let heard = hear(&mut server, &records).unwrap();
        server.on_answers_sent();
        receive(&mut client, &[heard.answers, seal(&mut server, b"x")].concat()).unwrap();
    }
}

#[test]
fn a_key_update_may_come_in_parts_and_nothing_stands_in_or_behind_it() {
    use ContentType::{Alert, ApplicationData, Handshake};
    let suite = an_aes_suite();
    for end in 1..UPDATE.len() {
        let (front, rest) = UPDATE.split_at(end);
        assert_eq!(told(suite, &[(Handshake, front), (Handshake, rest)]), None);
        for (kind, between) in [(ApplicationData, &b"x"[..]), (ApplicationData, b""), (Alert, &USER_CANCELED)] {
            let told = told(suite, &[(Handshake, front), (kind, between), (Handshake, rest)]);
            assert_eq!(told, Some(AlertDescription::UnexpectedMessage));
        }
    }
    let bytes = UPDATE.map(|byte| (Handshake, [byte]));
    let bytes: Vec<(ContentType, &[u8])> = bytes.iter().map(|(kind, byte)| (*kind, &byte[..])).collect();
    assert_eq!(told(suite, &bytes), None);
    assert_eq!(told(suite, &[(Handshake, &[UPDATE, UPDATE].concat())]), Some(AlertDescription::UnexpectedMessage));
}

#[test]
fn what_no_client_may_say_is_refused_with_the_alert_of_rfc_8446() {
    use AlertDescription as Alerts;
    use ContentType::{Alert, ApplicationData, ChangeCipherSpec, Handshake};
    for suite in tls13() {
        for (kind, content, expected) in [
            (Handshake, &[24, 0, 0, 1, 2][..], Alerts::IllegalParameter),
            (Handshake, &[24, 0, 0, 0], Alerts::DecodeError),
            (Handshake, &[24, 0, 0, 2, 0], Alerts::DecodeError),
            (Handshake, &[24, 1], Alerts::DecodeError),
            (Handshake, &[], Alerts::UnexpectedMessage),
            // A hello, a ticket, a request for a certificate, one that ends.
            (Handshake, &[1, 0, 0, 1, 0], Alerts::UnexpectedMessage),
            (Handshake, &[4, 0, 0, 1, 0], Alerts::UnexpectedMessage),
            (Handshake, &[13], Alerts::UnexpectedMessage),
            (Handshake, &[20, 0, 0, 32], Alerts::UnexpectedMessage),
            (ChangeCipherSpec, &[1], Alerts::UnexpectedMessage),
            (ContentType::from(24), &[1], Alerts::UnexpectedMessage),
            (ContentType::from(99), b"x", Alerts::UnexpectedMessage),
            (Alert, &[], Alerts::DecodeError),
            (Alert, &[1], Alerts::DecodeError),
            (Alert, &[1, 0, 0], Alerts::DecodeError),
        ] {
            assert_eq!(
                told(suite, &[(ApplicationData, b"x"), (kind, content)]),
                Some(expected),
                "{kind:?} {content:?}"
            );
        }
    }
    for suite in tls12() {
        for (kind, content, expected) in [
            (Handshake, &[20, 0, 0, 0][..], Alerts::UnexpectedMessage),
            (Handshake, &[1, 0, 0, 1], Alerts::UnexpectedMessage),
            (Handshake, &UPDATE, Alerts::UnexpectedMessage),
            (Handshake, &[], Alerts::UnexpectedMessage),
            (Alert, &[1], Alerts::DecodeError),
        ] {
            assert_eq!(told(suite, &[(kind, content)]), Some(expected), "{kind:?} {content:?}");
        }
    }
}

#[test]
fn records_that_are_empty_or_warn_come_to_an_end() {
    for suite in suites() {
        let empty = (ContentType::ApplicationData, &b""[..]);
        let data = (ContentType::ApplicationData, &b"x"[..]);
        assert_eq!(told(suite, &[empty; 32]), None);
        assert_eq!(told(suite, &[empty; 33]), Some(AlertDescription::UnexpectedMessage));
        assert_eq!(told(suite, &[&[empty; 32][..], &[data], &[empty; 32]].concat()), None);
        let canceled = (ContentType::Alert, &USER_CANCELED[..]);
        assert_eq!(told(suite, &[canceled; 4]), None);
        assert_eq!(told(suite, &[canceled, data, canceled, canceled, canceled]), None);
        assert_eq!(told(suite, &[canceled; 5]), Some(AlertDescription::UnexpectedMessage));
    }
}

#[test]
fn a_client_that_gives_up_is_not_answered() {
    for suite in suites() {
        for alert in [[2, 20], [2, 0x28], [2, 90], [3, 10], [1, 40]] {
            let (mut server, mut rogue) = rogue_pair(suite);
            let heard = hear(&mut server, &rogue.seal(ContentType::Alert, &alert));
            // TLS 1.2 has warnings that mean nothing now.
            if alert[0] == 1 && suite.tls13().is_none() {
                assert_eq!(heard, Ok(Heard::default()));
                continue;
            }
            assert_eq!(heard, Err(ReadError::Alert(alert[1].into())));
            assert_eq!(alert_of(&mut server, &heard), b"");
        }
    }
}

#[test]
fn closing_is_heard_on_both_sides_and_nothing_behind_it() {
    for suite in suites() {
        let Pair { mut server, mut client, .. } = pair(suite);
        let mut close = Vec::new();
        server.close(&mut close);
        client.read_tls(&mut close.as_slice()).unwrap();
        assert!(client.process_new_packets().unwrap().peer_has_closed());
        client.send_close_notify();
        let close = sent(&mut client);
        assert!(hear(&mut server, &close).unwrap().is_closed);

        // Nothing is answered then.
        let mut answers = Vec::new();
        server.close(&mut answers);
        assert_eq!(answers, b"");

        let (mut server, mut rogue) = rogue_pair(suite);
        let kinds = [
            (ContentType::ApplicationData, &b"x"[..]),
            (ContentType::Alert, &CLOSE_NOTIFY),
            (ContentType::ApplicationData, b"y"),
        ];
        let records: Vec<u8> = kinds.iter().flat_map(|(kind, content)| rogue.seal(*kind, content)).collect();
        let heard = hear(&mut server, &records).unwrap();
        assert_eq!(heard, Heard { data: b"x".to_vec(), is_closed: true, answers: vec![] });
    }
}

#[test]
fn nothing_is_answered_behind_the_close() {
    let (mut server, mut rogue) = rogue_pair(an_aes_suite());
    server.close(&mut Vec::new());
    let update = rogue.seal(ContentType::Handshake, &UPDATE_AND_ANSWER);
    assert_eq!(hear(&mut server, &update).unwrap().answers, b"");
    for suite in tls12() {
        let (mut server, mut rogue) = rogue_pair(suite);
        server.close(&mut Vec::new());
        let hello = rogue.seal(ContentType::Handshake, &[1, 0, 0, 1, 0]);
        assert_eq!(hear(&mut server, &hello).unwrap().answers, b"");
    }
}

#[test]
fn a_client_whose_record_was_changed_on_the_way_is_told() {
    for suite in suites() {
        let Pair { mut server, mut client, .. } = pair(suite);
        let mut record = write(&mut client, b"data");
        let last = record.len() - 1;
        record[last] ^= 1;
        let heard = hear(&mut server, &record);
        let alert = alert_of(&mut server, &heard);
        client.read_tls(&mut alert.as_slice()).unwrap();
        let told = client.process_new_packets().unwrap_err();
        assert_eq!(told, Error::AlertReceived(AlertDescription::BadRecordMac), "{suite:?}");
    }
}

#[test]
fn a_renegotiation_is_refused_once_and_then_the_connection_ends() {
    for suite in tls12() {
        let (mut server, mut rogue) = rogue_pair(suite);
        let hello = [&[1, 0, 0, 40][..], &[0; 40]].concat();
        let heard = hear(&mut server, &rogue.seal(ContentType::Handshake, &hello)).unwrap();
        assert_eq!(rogue.open(&heard.answers), (ContentType::Alert, vec![1, 100]));
        let heard = hear(&mut server, &rogue.seal(ContentType::ApplicationData, b"on")).unwrap();
        assert_eq!(heard.data, b"on");
        let told = told_by(&mut server, &mut rogue, &[(ContentType::Handshake, &hello)]);
        assert_eq!(told, Some(AlertDescription::UnexpectedMessage));
    }
}
