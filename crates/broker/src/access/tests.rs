use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use carillon_access::{Operation, Source, identity::Secret as Key};
use carillon_wire::Pattern;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};

use super::*;
use crate::config::{DEV_ROLE, PaceKeys, Problem};

const HASH: &str = "00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff";
/// What must not be in any error.
const SECRET: &str = "hunter2-hunter2-hunter2-hunter2-hunter2";

/// A directory with an access file and what it names.
struct Given {
    directory: tempfile::TempDir,
    access: Access,
}

impl Given {
    fn new(toml: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let given = Self { access: Access::default(), directory };
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        given.write("public.pem", &key.public_key_pem());
        given.write("private.pem", &key.serialize_pem());
        given.write("secret", &format!("{SECRET}\n"));
        given.write("short", "hunter2\n");
        let file = Some(given.write("access.toml", toml));
        Self { access: Access { file, ..Access::default() }, ..given }
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        path
    }

    fn problems(&self) -> Vec<Problem> {
        match load(&self.access) {
            Err(ConfigError::Problems(problems)) => {
                for problem in &problems {
                    assert!(!problem.to_string().contains("hunter2"), "{problem}");
                }
                problems
            }
            other => panic!("expected problems, found {other:?}"),
        }
    }
}

/// An issuer with these lines besides its name.
fn issuer(lines: &str) -> String {
    format!("[roles.web]\n[[issuers]]\nissuer = \"https://login\"\n{lines}\n")
}

fn service(lines: &str) -> String {
    format!("[roles.web]\n[[services]]\nname = \"billing\"\n{lines}\n")
}

/// The problems of an access file as people read them, without the file.
fn told(toml: &str) -> Vec<String> {
    let given = Given::new(toml);
    let path = given.directory.path().display().to_string();
    given.problems().iter().map(|problem| problem.to_string().replace(&path, "DIR")).collect()
}

fn assert_told(toml: &str, expected: &[&str]) {
    let told = told(toml);
    let all = told.len() == expected.len() && told.iter().zip(expected).all(|(told, part)| told.contains(part));
    assert!(all, "{toml}\n{told:#?}");
}

#[test]
fn example_is_understood() {
    let example = include_str!("../../../../deploy/access.example.toml");
    let given = Given::new(example);
    given.write("login.pem", &fs::read_to_string(given.directory.path().join("public.pem")).unwrap());
    let loaded = load(&given.access).unwrap();
    assert_eq!(loaded.warnings, Vec::<String>::new());
    assert_eq!(loaded.services.len(), 1);
    // Its commented lines are understood as well.
    let everything = example
        .lines()
        .map(|line| if line.starts_with("# ") { "" } else { line.trim_start_matches('#') })
        .fold(String::new(), |text, line| text + line + "\n");
    given.write("access.toml", &everything);
    let keys: Vec<_> = given.problems().into_iter().map(|problem| problem.key).collect();
    assert_eq!(keys, [r#"issuers["https://login.example.com"].jwks_file"#]);
}

#[test]
fn file_becomes_rules() {
    let given = Given::new(&format!(
        r#"
        [roles.web]
        publish.allow = ["user.{{sub}}.>"]
        subscribe = {{ allow = ["tenant.{{tenant}}.>"], deny = ["tenant.*.secret"] }}
        [[services]]
        name = "billing"
        roles = ["web"]
        claims = {{ tenant = "north" }}
        keys = [{{ id = "b-1", hash = "{HASH}", expires = 2030-01-31T12:00:00+01:00 }}, {{ id = "b-2", hash = "{HASH}" }}]
        [[issuers]]
        issuer = "https://login"
        algorithms = ["ES256", "HS256"]
        audiences = ["carillon"]
        key_files = ["public.pem", "secret"]
        "#
    ));
    let loaded = load(&given.access).unwrap();
    let service = &loaded.services[0];
    assert_eq!(service.keys[0].expires_at_s, Some(1_896_087_600));
    assert_eq!(service.keys[1].expires_at_s, None);
    let identity = loaded.service_identity("billing", 1_896_087_600).unwrap().unwrap();
    assert_eq!(identity.source, Source::ApiKey { name: "b-1".to_owned() });
    let permissions = loaded.admit(&identity).unwrap();
    let may = |operation, name| permissions.check(operation, Pattern::new(name).unwrap()).is_ok();
    assert!(may(Operation::Publish, "user.billing.x") && !may(Operation::Publish, "user.other.x"));
    assert!(may(Operation::Subscribe, "tenant.north.news") && !may(Operation::Subscribe, "tenant.north.*"));
    assert_eq!(loaded.rules.anonymous, None);
}

#[test]
fn every_problem_is_told_at_once() {
    let mut given = Given::new(
        r#"
        ouch = 1
        [roles.web]
        publish.allow = ["a..b"]
        [[issuers]]
        algorithms = ["none"]
        [[services]]
        name = "billing"
        roles = ["nobody"]
        keys = []
        "#,
    );
    given.access.revocations = Some(given.write("revocations", "subject\n"));
    given.access.anonymous = true;
    given.access.anonymous_roles = vec!["guest".to_owned()];
    let keys: Vec<_> = given.problems().into_iter().map(|problem| problem.key).collect();
    assert_eq!(
        keys,
        [
            "ouch",
            "roles.web",
            "issuers[number 1].algorithms",
            "issuers[number 1].key_files",
            r#"services["billing"]"#,
            "access.anonymous_roles",
            "access.revocations",
        ]
    );
}

#[test]
fn unknown_keys_and_wrong_forms_are_named_without_values() {
    assert_told("[rolles.web]", &["rolles (file DIR/access.toml): there is no such section; did you mean roles?"]);
    assert_told("[issuers]", &["write its name in two brackets, [[issuers]]"]);
    let good = service(&format!("roles = [\"web\"]\nkeys = [{{ id = \"b\", hash = \"{HASH}\" }}]"));
    assert_told(
        &format!("{good}[roles.x.publish]\nalow = []"),
        &["roles.x.publish.alow (file DIR/access.toml): there is no key `alow`"],
    );
    assert_told(&format!("{good}[roles.x]\npublishes = []"), &["there is no key `publishes`; allowed here: publish,"]);
    assert_told(
        &format!("{good}[roles.x]\npublish = [\"{SECRET}\"]"),
        &["roles.x.publish (file DIR/access.toml): expected allow and deny, as in publish.allow"],
    );
    assert_told(&format!("{good}[roles.\"$x\"]"), &["do not start with `$`"]);
    assert_told(&service(&format!("key = \"{SECRET}\"")), &["there is no key `key`; allowed here: name, roles"]);
    assert_told(
        &service(&format!("keys = \"{SECRET}\"")),
        &["keys (file DIR/access.toml): found a text, expected a list"],
    );
    assert_told(&service(&format!("keys = [\"{SECRET}\"]")), &["expected { id = \"...\", hash = \"...\" }"]);
    assert_told(&issuer(&format!("key_files = \"{SECRET}\"")), &["found a text, expected a list"]);
    assert_told(&issuer(&format!("secret = \"{SECRET}\"")), &["there is no key `secret`"]);
    assert_told(&issuer("leeway_seconds = -1"), &["leeway_seconds"]);
}

#[test]
fn file_that_cannot_be_read_or_is_no_toml_is_told_without_its_lines() {
    let mut given = Given::new(&format!("[[services]]\nkeys = [{{ id = \"a\", hash = \"{SECRET}]\n"));
    let told = load(&given.access).unwrap_err().to_string();
    assert!(told.contains("access.toml is not valid TOML: line 2") && !told.contains("hunter2"), "{told}");
    given.access.file = Some("/nonexistent/access.toml".into());
    let told = load(&given.access).unwrap_err().to_string();
    assert!(told.contains("/nonexistent/access.toml cannot be read"), "{told}");
}

#[test]
fn roles_say_what_is_wrong_with_them() {
    let good = service(&format!("roles = [\"web\"]\nkeys = [{{ id = \"b\", hash = \"{HASH}\" }}]"));
    let with = |role: &str| format!("{good}[roles.x]\n{role}");
    assert_told(
        &with("publish.allow = [\"a..b\"]"),
        &["roles.x (file DIR/access.toml): role `x`: `publish.allow` has `a..b`"],
    );
    assert_told(&with("history.deny = [\"user.{sub\"]"), &["`history.deny` has `user.{sub`: it has a brace without"]);
}

#[test]
fn quotas_of_roles_stand_beside_what_they_may_do() {
    let good = service(&format!("roles = [\"web\"]\nkeys = [{{ id = \"b\", hash = \"{HASH}\" }}]"));
    let with = |quotas: &str| format!("{good}[roles.x]\npublish.allow = [\"a\"]\n[roles.x.quotas]\n{quotas}");
    let loaded = load(&Given::new(&with("connections = 0\nrequests = { per_second = 5 }")).access).unwrap();
    let expected = RoleQuotas {
        connections: Some(0),
        requests: Some(PaceKeys { per_second: 5, burst: 0 }),
        ..RoleQuotas::default()
    };
    assert_eq!(loaded.role_quotas, HashMap::from([("x".to_owned(), expected)]));
    assert_told(
        &with(
            "handshakes = 5\nconnections = \"many\"\npublications = 3\nbytes = { per_second = 1, burst = 99999999999999 }",
        ),
        &[
            "roles.x.quotas.connections (file DIR/access.toml): found a text, expected a whole number, 0 or more",
            "roles.x.quotas.handshakes (file DIR/access.toml): there is no key `handshakes`; allowed here: connections",
            "roles.x.quotas.publications (file DIR/access.toml): found a number, expected { per_second = 10, burst = 20 }",
        ],
    );
    assert_told(
        &with("bytes = { per_second = 1, burst = 99999999999999 }"),
        &["roles.x.quotas.bytes (file DIR/access.toml): a burst of 99999999999999 is out of range"],
    );
}

#[test]
fn issuers_say_what_is_wrong_with_them() {
    let es256 = "algorithms = [\"ES256\"]\naudiences = [\"carillon\"]\n";
    let hs256 = "algorithms = [\"HS256\"]\naudiences = [\"carillon\"]\n";
    for (lines, expected) in [
        (es256.to_owned(), "its keys are missing"),
        (
            format!("{es256}key_files = [\"public.pem\"]\njwks_file = \"j\""),
            "only one of key_files, jwks_file and jwks_url",
        ),
        (format!("{es256}key_files = [\"gone.pem\"]"), "DIR/gone.pem cannot be read"),
        (format!("{es256}key_files = [\"private.pem\"]"), "DIR/private.pem: it is a private key"),
        (format!("{es256}key_files = [\"secret\"]"), "DIR/secret: no PEM block"),
        (format!("{hs256}key_files = [\"public.pem\"]"), "DIR/public.pem: it is PEM"),
        (format!("{hs256}key_files = [\"short\"]"), "DIR/short: the secret has 7 bytes"),
        (format!("{es256}jwks_file = \"secret\""), "DIR/secret: the JWKS document is not JSON"),
        (format!("{es256}leeway_seconds = 601\nkey_files = [\"public.pem\"]"), "found 601, allowed: 0 to 600"),
        ("algorithms = [\"ES256\"]\nkey_files = [\"public.pem\"]".to_owned(), "has no audience"),
        ("audiences = [\"carillon\"]\nkey_files = [\"public.pem\"]".to_owned(), "has no algorithms"),
        (format!("{es256}roles_claim = \"\"\nkey_files = [\"public.pem\"]"), "a claim without a name"),
        (
            format!("{es256}key_files = [{}]", ["\"public.pem\""; 5].join(", ")),
            "5 keys for ES256, and keys in files have no ids",
        ),
    ] {
        assert_told(&issuer(&lines), &[expected]);
    }
    let unknown = "algorithms = [\"none\", \"ES256\"]\naudiences = [\"carillon\"]\nkey_files = [\"public.pem\"]";
    assert_told(&issuer(unknown), &["found \"none\": unknown algorithm; known are HS256"]);
    let good = format!("[[issuers]]\nissuer = \"i\"\n{es256}key_files = [\"public.pem\"]\n");
    assert_told(&good.repeat(2), &["issuers (file DIR/access.toml): issuer \"i\" is configured twice"]);
}

#[test]
fn services_say_what_is_wrong_with_them() {
    let key = |more: &str| format!("roles = [\"web\"]\nkeys = [{{ id = \"b\", hash = \"{HASH}\"{more} }}]");
    for (lines, expected) in [
        (format!("roles = [\"web\"]\nkeys = [{{ id = \"b\", hash = \"{SECRET}\" }}]"), "keys[\"b\"].hash"),
        (format!("roles = [\"web\"]\nkeys = [{{ id = \"B\", hash = \"{HASH}\" }}]"), "1 to 32 of the characters"),
        (format!("roles = [\"web\"]\nkeys = [{{ hash = \"{HASH}\" }}]"), "keys[number 1].id"),
        (key(", expires = \"soon\""), "expected a moment since 1970 with its time zone"),
        (key(", expires = 2030-01-31"), "expected a moment"),
        (key(", expires = -1"), "expected a moment"),
        (key(", expires = true"), "expected a moment"),
        ("roles = [\"web\"]".to_owned(), "has 0 keys; 1 or 2 are allowed"),
        (key("").replace("web", "wbe"), "there is no role \"wbe\"; the access file has: \"web\""),
        (key("").replace("\"web\"", ""), "without a role it could do nothing"),
    ] {
        assert_told(&service(&lines), &[expected]);
    }
    let templated = service(&key("")) + "[roles.tenants]\npublish.allow = [\"{tenant}.>\"]\n";
    assert_told(
        &templated.replace("[\"web\"]", "[\"tenants\"]"),
        &["claim `tenant` cannot be used in topics: it is missing"],
    );
    let twice = service(&key("")) + &service(&key("")).replace("[roles.web]", "").replace("billing", "other");
    assert_told(&twice, &["services (file DIR/access.toml): two API keys have the id b"]);
}

#[test]
fn expiry_is_a_moment_in_any_of_its_forms() {
    for written in ["\"2030-01-31T12:00:00+01:00\"", "2030-01-31T11:00:00Z", "1896087600"] {
        let key = format!("roles = [\"web\"]\nkeys = [{{ id = \"b\", hash = \"{HASH}\", expires = {written} }}]");
        let loaded = load(&Given::new(&service(&key)).access).unwrap();
        assert_eq!(loaded.services[0].keys[0].expires_at_s, Some(1_896_087_600), "{written}");
    }
}

#[test]
fn file_that_lets_nobody_in_is_refused_unless_anonymous_clients_are() {
    assert_told("[roles.web]", &["nobody could connect: there is neither an issuer"]);
    let mut given = Given::new("[roles.guest]");
    given.access.anonymous = true;
    given.access.anonymous_roles = vec!["guest".to_owned()];
    let identity = load(&given.access).unwrap().rules.anonymous.unwrap();
    assert_eq!((identity.subject.as_str(), identity.source), ("anonymous", Source::Anonymous));

    given.access.anonymous_roles = vec!["guests".to_owned()];
    let told = given.problems()[0].to_string();
    assert!(told.starts_with("access.anonymous_roles (configuration): there is no role \"guests\""), "{told}");
}

#[test]
fn dev_role_does_everything_and_exists_for_dev_alone() {
    let mut access = Access { anonymous: true, anonymous_roles: vec![DEV_ROLE.to_owned()], ..Access::default() };
    let loaded = load(&access).unwrap();
    let permissions = loaded.admit(loaded.rules.anonymous.as_ref().unwrap()).unwrap();
    for operation in Operation::ALL {
        assert!(permissions.check(operation, Pattern::new(">").unwrap()).is_ok());
    }
    access.anonymous = false;
    assert!(!load(&access).unwrap().rules.policy.has_role(DEV_ROLE));
}

#[test]
fn revocations_that_cannot_be_read_are_a_problem() {
    let mut access = Access { revocations: Some("/nonexistent/revoked".into()), ..Access::default() };
    let told = load(&access).unwrap_err().to_string();
    assert!(told.contains("access.revocations (file /nonexistent/revoked): cannot be read"), "{told}");
    let given = Given::new("");
    access.revocations = Some(given.write("revoked", "# nobody yet\n\nsubject alice\nsubjct bob\n"));
    let told = load(&access).unwrap_err().to_string();
    assert!(told.contains("line 4: unknown entry \"subjct\""), "{told}");
    given.write("revoked", "subject alice\n");
    assert_eq!(load(&access).unwrap().rules.revocations.len(), 1);
}

#[test]
fn files_that_others_can_read_or_write_are_warned_of() {
    let keys = "algorithms = [\"HS256\"]\naudiences = [\"carillon\"]\nkey_files = [\"secret\"]";
    let given = Given::new(&issuer(keys));
    assert!(load(&given.access).unwrap().warnings.is_empty());
    let mode = |name: &str, mode| {
        fs::set_permissions(given.directory.path().join(name), Permissions::from_mode(mode)).unwrap();
    };
    mode("secret", 0o644);
    mode("access.toml", 0o666);
    let warnings = load(&given.access).unwrap().warnings;
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("access.toml can be written by every user"), "{warnings:?}");
    assert!(warnings[1].contains("can be read by every user") && !warnings[1].contains("hunter2"), "{warnings:?}");
    // What is public may be read.
    let public = Given::new(&issuer(&keys.replace("HS256", "ES256").replace("secret", "public.pem")));
    fs::set_permissions(public.directory.path().join("public.pem"), Permissions::from_mode(0o644)).unwrap();
    assert!(load(&public.access).unwrap().warnings.is_empty());
}

#[test]
fn signing_key_is_read_as_the_broker_reads_it() {
    let given = Given::new("");
    let read = |name: &str, algorithm| read_signing_key(&given.directory.path().join(name), algorithm);
    assert_eq!(read("secret", Algorithm::Hs256).as_ref().map(Key::expose), Ok(SECRET.as_bytes()));
    assert!(read("short", Algorithm::Hs256).unwrap_err().contains("7 bytes"));
    assert!(read("private.pem", Algorithm::Es256).is_ok());
    assert!(read("gone", Algorithm::Es256).unwrap_err().contains("cannot be read"));
}

#[test]
fn document_gives_the_keys_that_the_issuer_signs_with() {
    let given = Given::new("");
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let (x, y) = key.public_key_raw()[1..].split_at(32);
    let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let public = format!(r#"{{"kty":"EC","crv":"P-256","kid":"k","x":"{}","y":"{}"}}"#, number(x), number(y));
    given.write("jwks", &format!(r#"{{"keys":[{public},{{"kty":"oct","k":"aHVudGVyMg"}}]}}"#));
    let file = issuer("algorithms = [\"ES256\"]\naudiences = [\"carillon\"]\njwks_file = \"jwks\"\nleeway_seconds = 0");
    given.write("access.toml", &file);
    let loaded = load(&given.access).unwrap();
    assert!(loaded.warnings[0].contains("jwks holds what is not used: key 2: it is a secret"), "{:?}", loaded.warnings);

    let header =
        jsonwebtoken::Header { kid: Some("k".to_owned()), ..jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256) };
    let claims = serde_json::json!({ "iss": "https://login", "aud": "carillon", "sub": "alice", "exp": 1_000 });
    let signing = jsonwebtoken::EncodingKey::from_ec_pem(key.serialize_pem().as_bytes()).unwrap();
    let token = jsonwebtoken::encode(&header, &claims, &signing).unwrap();
    assert_eq!(loaded.identify(Some(&token), 999).unwrap().subject, "alice");
    assert!(loaded.identify(Some(&token), 1_000).is_err());

    given.write("access.toml", &file.replace("ES256", "RS256"));
    let told = given.problems()[0].to_string();
    assert!(told.contains("jwks has no key for the issuer's algorithms (RS256)"), "{told}");
}

#[test]
fn service_whose_keys_have_expired_is_not_admitted() {
    let keys = format!("roles = [\"web\"]\nkeys = [{{ id = \"b\", hash = \"{HASH}\", expires = 1000 }}]");
    let loaded = load(&Given::new(&service(&keys)).access).unwrap();
    assert!(loaded.service_identity("billing", 999).unwrap().is_ok());
    assert!(matches!(loaded.service_identity("billing", 1_000), Some(Err(NotAdmitted::NoKeyLeft))));
    assert!(loaded.service_identity("biling", 999).is_none());
}

#[test]
fn certificates_are_known_by_one_name_and_have_roles_that_fit_it() {
    let roles = "[roles.web]\nsubscribe.allow = [\"user.{sub}\"]\n[roles.open]\nsubscribe.allow = [\"a\"]\n\
                 [roles.tenant]\nsubscribe.allow = [\"{tenant}.a\"]\n";
    let rule = |lines: &str| format!("{roles}[[certificates]]\n{lines}\n");
    for good in [
        "common_name = \"api\"\nroles = [\"web\"]",
        "common_name = \"*\"\nroles = [\"web\", \"open\"]",
        "dns = \"*.example.com\"\nroles = [\"open\"]",
        "uri = \"spiffe://prod/*\"\nroles = [\"web\"]",
        "email = \"*@example.com\"\nroles = [\"open\"]",
    ] {
        assert!(load(&Given::new(&rule(good)).access).unwrap().has_certificate_rules, "{good}");
    }
    for (lines, expected) in [
        ("roles = [\"open\"]", "certificates[number 1] (file DIR/access.toml): expected one of uri, dns, email"),
        ("uri = \"a\"\ndns = \"b\"\nroles = [\"open\"]", "certificates[\"a\"] (file DIR/access.toml): expected one of"),
        ("uri = \"a\"", "certificates[\"a\"].roles (file DIR/access.toml): without a role"),
        (
            "uri = \"a\"\nroles = [\"wbe\"]",
            "there is no role \"wbe\"; the access file has: \"open\", \"tenant\", \"web\"",
        ),
        ("dns = \"*.example.com\"\nroles = [\"web\"]", "`sub` cannot be used in topics"),
        ("uri = \"a\"\nroles = [\"tenant\"]", "`tenant`"),
        ("uri = \"*a*\"\nroles = [\"open\"]", "certificate rule 1 has more than one `*`"),
        ("uri = \"\"\nroles = [\"open\"]", "certificate rule 1 has an empty pattern"),
        (
            "subject = \"a\"\nroles = [\"open\"]",
            "there is no key `subject`; allowed here: uri, dns, email, common_name",
        ),
    ] {
        assert_told(&rule(lines), &[expected]);
    }
}
