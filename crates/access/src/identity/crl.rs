//! Which of several revocation lists counts.

use std::cmp::Ordering;

use x509_parser::{
    num_bigint::BigUint, oid_registry::OID_X509_EXT_ISSUER_DISTRIBUTION_POINT, prelude::FromDer,
    revocation_list::CertificateRevocationList,
};

/// What a revocation list says of itself, with which nothing has been proved: whose certificates it is about, and how
/// new it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrlHead {
    /// The issuer's name, and the part of its certificates that the list is for, where that is not all; in DER.
    scope: (Vec<u8>, Option<Vec<u8>>),
    this_update_s: i64,
    /// Big-endian without leading zeros, after its length, so that it compares as the number does.
    number: Option<(usize, Vec<u8>)>,
}

impl CrlHead {
    /// Reads the head of a list in DER; `None` if it is none.
    pub fn of(der: &[u8]) -> Option<Self> {
        let (_, list) = CertificateRevocationList::from_der(der).ok()?;
        let part = list.extensions().iter().find(|extension| extension.oid == OID_X509_EXT_ISSUER_DISTRIBUTION_POINT);
        let number = list.crl_number().map(BigUint::to_bytes_be);
        Some(Self {
            scope: (list.issuer().as_raw().to_vec(), part.map(|part| part.value.to_vec())),
            this_update_s: list.last_update().timestamp(),
            number: number.map(|bytes| (bytes.len(), bytes)),
        })
    }

    /// Whether both are about the same certificates, so that the newer one takes the other's place.
    pub fn has_scope_of(&self, other: &Self) -> bool {
        self.scope == other.scope
    }

    /// The newer of two lists is the greater one: by when it was made, and in the same second by its number.
    pub fn cmp_age(&self, other: &Self) -> Ordering {
        self.this_update_s.cmp(&other.this_update_s).then_with(|| self.number.cmp(&other.number))
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, CrlDistributionPoint,
        CrlIssuingDistributionPoint, CrlScope, DnType, IsCa, KeyIdMethod, KeyPair, SerialNumber, date_time_ymd,
    };

    use super::*;

    fn head(issuer: &str, day: u8, number: u64, scope: Option<CrlScope>) -> CrlHead {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, issuer);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let part = |scope| CrlIssuingDistributionPoint {
            distribution_point: CrlDistributionPoint { uris: vec!["http://crl.test".to_owned()] },
            scope: Some(scope),
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2030, 1, day),
            next_update: date_time_ymd(2031, 1, 1),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: scope.map(part),
            revoked_certs: Vec::new(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        CrlHead::of(params.signed_by(&issuer).unwrap().der()).unwrap()
    }

    #[test]
    fn the_later_list_is_newer_and_of_one_moment_the_one_with_the_larger_number() {
        let list = head("a", 2, 9, None);
        for (other, expected) in [
            (head("a", 1, 300, None), Ordering::Greater),
            (head("a", 3, 1, None), Ordering::Less),
            (head("a", 2, 256, None), Ordering::Less),
            (head("a", 2, 8, None), Ordering::Greater),
            (head("a", 2, 9, None), Ordering::Equal),
        ] {
            assert_eq!(list.cmp_age(&other), expected, "{other:?}");
            assert!(list.has_scope_of(&other));
        }
    }

    #[test]
    fn lists_of_other_issuers_or_parts_do_not_take_each_others_place() {
        let whole = head("a", 1, 1, None);
        let (users, authorities) = (CrlScope::UserCertsOnly, CrlScope::CaCertsOnly);
        for other in [head("b", 1, 1, None), head("a", 1, 1, Some(users))] {
            assert!(!whole.has_scope_of(&other) && !other.has_scope_of(&whole));
        }
        assert!(!head("a", 1, 1, Some(users)).has_scope_of(&head("a", 1, 1, Some(authorities))));
        assert!(CrlHead::of(b"nonsense").is_none());
    }
}
