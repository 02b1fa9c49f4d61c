//! One fetch, from a real server.

use std::time::Duration;

use carillon_metrics::JwksFetchResult;

use super::{
    super::{JwksSource, error::FetchError, fetch, fetch::Document},
    issuer::Answer,
    *,
};

fn source(server: &Server) -> JwksSource {
    Given::at(server, "").load().sources.remove(0)
}

async fn fetched(answer: Answer) -> Result<Document, FetchError> {
    let server = Server::start(answer);
    fetch(&source(&server)).await
}

#[tokio::test]
async fn document_comes_with_its_age() {
    let (a, b) = (Signer::new("a"), Signer::new("b"));
    let document = fetched(Answer::of(&[&a, &b])).await.unwrap();
    let ids: Vec<_> = document.jwks.keys.iter().filter_map(|key| key.id()).collect();
    assert_eq!((ids.as_slice(), document.max_age_s), (&["a", "b"][..], None));

    let body = issuer::document(&[&a]);
    for (headers, expected) in [
        ("Cache-Control: public, max-age=300\r\n", Some(300)),
        ("Cache-Control: no-cache, no-store, max-age=0, must-revalidate\r\n", None),
        ("Content-Encoding: identity\r\n", None),
    ] {
        let document = fetched(Answer::with("200 OK", headers, &body)).await.unwrap();
        assert_eq!(document.max_age_s, expected, "{headers}");
    }
    // Without a length the end of the connection ends the body.
    let unsized_body = Answer::raw(format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{body}"));
    assert_eq!(fetched(unsized_body).await.unwrap().jwks.keys.len(), 1);
}

#[tokio::test]
async fn answers_that_bring_no_keys_are_told_in_words() {
    use JwksFetchResult::{BadDocument, BadStatus, Unreachable};

    let (large, key) = ("x".repeat(300 << 10), Signer::new("a"));
    let rsa_only = issuer::document(&[&key]).replace("\"EC\"", "\"oct\"");
    for (answer, result, expected) in [
        (
            Answer::with("302 Found", "Location: https://elsewhere.test/jwks\r\n", ""),
            BadStatus,
            "a redirect (302 Found) to \"https://elsewhere.test/jwks\", and redirects are not followed",
        ),
        (
            Answer::with("302 Found", "Location: https://login.test/jwks?key=hunter2#hunter2\r\n", ""),
            BadStatus,
            "to \"https://login.test/jwks\", and",
        ),
        (Answer::with("404 Not Found", "", "{}"), BadStatus, "the status 404 Not Found"),
        (Answer::with("204 No Content", "", ""), BadStatus, "the status 204 No Content"),
        (Answer::ok("<html>log in</html>"), BadDocument, "not JSON of the form"),
        (Answer::ok("{\"keys\":[]}"), BadDocument, "it is empty"),
        (Answer::ok(&rsa_only), BadDocument, "no key that verifies tokens"),
        (Answer::ok(&large), BadDocument, "more than 262144 bytes"),
        // It says so much ahead of the body, and need not be waited for.
        (
            Answer::raw("HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n{").and_hang(),
            BadDocument,
            "more than 262144 bytes",
        ),
        (Answer::with("200 OK", "Content-Encoding: br\r\n", "x"), BadDocument, "encoded as \"br\""),
        (Answer::raw("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"), Unreachable, "broke off"),
        (Answer::raw("220 mail.test ESMTP\r\n\r\n"), Unreachable, "broke off"),
        (Answer::raw(format!("HTTP/1.1 200 OK\r\nX: {large}\r\n\r\n")), Unreachable, "broke off"),
        (Answer::raw(""), Unreachable, "broke off"),
    ] {
        let error = fetched(answer).await.unwrap_err();
        assert!(error.to_string().contains(expected), "expected {expected:?} in {error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
        assert_eq!(error.result(), result, "{error}");
    }
}

#[tokio::test]
async fn keys_for_other_algorithms_are_none() {
    let server = Server::start(Answer::of(&[&Signer::new("a")]));
    let mut source = source(&server);
    source.algorithms = vec![carillon_access::identity::Algorithm::Rs256];
    let error = fetch(&source).await.unwrap_err();
    assert!(error.to_string().contains("no key for the issuer's algorithms (RS256)"), "{error}");
}

#[tokio::test]
async fn silence_ends_at_the_deadline_wherever_it_begins() {
    for answer in
        [Answer::raw(""), Answer::raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"), Answer::raw("HTTP/1.1")]
    {
        let server = Server::start(answer.and_hang());
        let source = JwksSource { deadline: Duration::from_millis(500), ..source(&server) };
        let error = fetch(&source).await.unwrap_err();
        assert!(matches!(error, FetchError::Deadline { .. }), "{error}");
        assert!(error.to_string().contains("not done within 0.5 s: it was still "), "{error}");
    }
}

#[tokio::test]
async fn source_with_another_ca_is_not_asked() {
    let (server, other) = (Server::start(Answer::ok("")), Server::start(Answer::ok("")));
    let given = Given::at(&server, "");
    given.write_ca(&other.ca);
    let error = fetch(&given.load().sources[0]).await.unwrap_err();
    assert!(error.to_string().contains("name the CA's certificate in jwks_ca_file"), "{error}");
    assert_eq!((error.result(), server.requests()), (JwksFetchResult::Unreachable, 0));
}

#[tokio::test]
async fn source_that_is_not_there_is_named() {
    let server = Server::start(Answer::ok(""));
    let gone = source(&server);
    drop(server);
    let error = fetch(&gone).await.unwrap_err();
    assert!(error.to_string().contains("takes no connection"), "{error}");
    assert_eq!(error.result(), JwksFetchResult::Unreachable);
}
