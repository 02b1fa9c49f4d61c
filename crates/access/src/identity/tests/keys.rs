//! What is taken for a key.

use super::signer::{EC, ED, RSA, SECRET};
use crate::identity::{Algorithm, Key, KeyError, KeyKind, Secret, UnknownAlgorithm};

/// What a public key on P-384 looks like.
const P384: &str = "-----BEGIN PUBLIC KEY-----
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEl56V1K9/uvM8eygQRx6All+1oN30TRg6
o89pSM9vFmy7FhcS7fuf7Wt8+BKKmjuLPV1uWSW33kZXkfuXz6pKX+RO1pqITWJJ
EDdR1OKRdhj7X96NYNyiZqF5oc7OkGT7
-----END PUBLIC KEY-----
";

#[test]
fn public_keys_are_known_for_what_they_are() {
    for (signer, kind) in
        [(&*RSA, KeyKind::Rsa), (&EC, KeyKind::P256), (&ED, KeyKind::Ed25519), (&SECRET, KeyKind::Secret)]
    {
        let key = signer.key(Some("k"));
        assert_eq!((key.kind(), key.id()), (kind, Some("k")));
        for algorithm in Algorithm::ALL {
            assert_eq!(key.fits(algorithm), algorithm.key_kind() == kind, "{algorithm} with {kind}");
        }
    }
}

#[test]
fn short_secrets_are_refused() {
    assert!(Key::from_secret(None, &Secret::new([7; 32])).is_ok());
    assert_eq!(Key::from_secret(None, &Secret::new([7; 31])).unwrap_err(), KeyError::ShortSecret(31));
    assert_eq!(Key::from_secret(None, &Secret::new([])).unwrap_err(), KeyError::ShortSecret(0));
}

#[test]
fn public_keys_are_refused_as_secrets() {
    for signer in [&*RSA, &EC, &ED] {
        let secret = Secret::new(signer.shared.clone());
        assert_eq!(Key::from_secret(None, &secret).unwrap_err(), KeyError::PemAsSecret);
        let with_cr = String::from_utf8(signer.shared.clone()).unwrap().replace('\n', "\r\n");
        assert_eq!(Key::from_secret(None, &Secret::new(with_cr)).unwrap_err(), KeyError::PemAsSecret);
    }
}

#[test]
fn what_is_not_one_public_key_is_refused_by_what_it_is() {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let certificate = rcgen::CertificateParams::default().self_signed(&pair).unwrap();
    let twice = [ED.shared.clone(), ED.shared.clone()].concat();
    let cut = String::from_utf8(RSA.shared.clone()).unwrap().replacen("IDAQAB", "IDAQ", 1);
    let (private, certificate) = (pair.serialize_pem(), certificate.pem());
    let cases: [(&[u8], KeyError); 7] = [
        (b"", KeyError::NotPem),
        (b"ssh-ed25519 AAAA", KeyError::NotPem),
        (private.as_bytes(), KeyError::PrivateKey),
        (certificate.as_bytes(), KeyError::NotAPublicKey),
        (&twice, KeyError::SeveralInPem),
        (P384.as_bytes(), KeyError::Unsupported),
        (cut.as_bytes(), KeyError::Unsupported),
    ];
    for (pem, error) in cases {
        assert_eq!(Key::from_pem(None, pem).unwrap_err(), error);
    }
}

#[test]
fn debug_prints_nothing_of_a_key() {
    assert_eq!(format!("{:?}", SECRET.key(Some("k"))), r#"Key { id: Some("k"), kind: Secret, declared: None, .. }"#);
    let config = format!("{:?} {:?}", SECRET.config(), SECRET.verifier());
    assert!(!config.contains("97, 32, 115") && !config.contains("a secret"), "{config}");
}

#[test]
fn algorithms_have_their_names_to_the_letter() {
    for algorithm in Algorithm::ALL {
        assert_eq!(algorithm.name().parse(), Ok(algorithm));
        assert_eq!(algorithm.name().to_lowercase().parse::<Algorithm>(), Err(UnknownAlgorithm));
    }
    for name in ["none", "", "HS512", "ES384", "RS1"] {
        assert_eq!(name.parse::<Algorithm>(), Err(UnknownAlgorithm));
    }
}
