//! What may stand in the access file.

use super::*;
use crate::trust::Trust;

fn told(lines: &str) -> String {
    let given = Given::new();
    given.write(lines);
    fs::write(given.path().join("no-pem"), "hunter2").unwrap();
    let told = given.try_load().unwrap_err().to_string();
    assert!(!told.contains("hunter2"), "{told}");
    told
}

#[test]
fn what_makes_no_sense_is_refused_with_the_reason() {
    let url = "jwks_url = \"https://login.test/jwks\"";
    for (lines, expected) in [
        ("jwks_url = \"http://hunter2.test/jwks\"".to_owned(), "].jwks_url (file "),
        ("jwks_url = \"http://login.test/jwks\"".to_owned(), "must start with https://"),
        ("jwks_url = \"https://a:hunter2@login.test/jwks\"".to_owned(), "no user name or password"),
        (format!("{url}\nkey_files = [\"login.pem\"]"), "only one of key_files, jwks_file and jwks_url"),
        (format!("{url}\njwks_file = \"jwks\""), "only one of key_files, jwks_file and jwks_url"),
        (format!("{url}\njwks_ca_file = \"gone.pem\""), "gone.pem cannot be read"),
        (format!("{url}\njwks_ca_file = \"no-pem\""), "no-pem has no certificate in PEM"),
        (format!("{url}\njwks_max_age_seconds = 59"), "jwks_max_age_seconds"),
        (format!("{url}\njwks_max_age_seconds = 86401"), "found 86401, allowed: 60 to 86400"),
        (format!("{url}\njwks_floor_seconds = 0"), "found 0, allowed: 1 to 3600"),
        (format!("{url}\njwks_floor_seconds = 61\njwks_max_age_seconds = 60"), "more than jwks_max_age_seconds (60)"),
        ("jwks_file = \"jwks\"\njwks_ca_file = \"ca.pem\"".to_owned(), "it belongs to a jwks_url"),
        ("jwks_file = \"jwks\"\njwks_floor_seconds = 5".to_owned(), "it belongs to a jwks_url"),
    ] {
        let told = told(&lines);
        assert!(told.contains(expected), "{lines}\n{told}");
    }
}

#[test]
fn shared_secret_cannot_be_published() {
    let server = Server::start(issuer::Answer::ok(""));
    let given = Given::at(&server, "");
    let toml = fs::read_to_string(given.path().join("access.toml")).unwrap().replace("ES256", "HS256");
    fs::write(given.path().join("access.toml"), toml).unwrap();
    let told = given.try_load().unwrap_err().to_string();
    assert!(told.contains("a secret that is published is none"), "{told}");
}

#[test]
fn reading_the_file_asks_nobody() {
    let server = Server::start(issuer::Answer::ok(""));
    let loaded = Given::at(&server, "jwks_floor_seconds = 7\njwks_max_age_seconds = 700").load();
    let [source] = loaded.sources.as_slice() else { panic!("{:?}", loaded.sources) };
    assert_eq!((source.timing.floor_s, source.timing.max_age_s, source.timing.max_backoff_s), (7, 700, 120));
    assert_eq!(server.requests(), 0);
}

#[test]
fn authorities_are_those_of_this_machine_unless_a_file_names_others() {
    let given = Given::new();
    given.write("jwks_url = \"https://login.test/jwks\"");
    match given.try_load() {
        Ok(loaded) => assert_eq!(loaded.sources[0].trust, Trust::System),
        Err(error) => {
            let told = error.to_string();
            assert!(told.contains("jwks_url (file ") && told.contains("has no CA certificates"), "{told}");
        }
    }
}
