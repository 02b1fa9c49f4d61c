use std::{collections::BTreeSet, fs, time::Duration};

use carillon_listener::proxies::ProxyProtocol;

use super::*;

/// The least that makes a configuration whole.
const WHOLE: &str = r#"
    [tls]
    certificate = "cert.pem"
    key = "key.pem"
    [access]
    file = "access.toml"
"#;

/// The example, which is the manual.
const EXAMPLE: &str = include_str!("../../../../deploy/carillon.example.toml");

struct Given {
    sources: Sources,
    _directory: tempfile::TempDir,
}

/// Sources with a file of this content.
fn file(toml: &str) -> Given {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("carillon.toml");
    fs::write(&path, toml).unwrap();
    Given { sources: Sources { file: Some(path), ..Sources::default() }, _directory: directory }
}

/// Sources with a whole file and these variables.
fn variables(variables: &[(&str, &str)]) -> Given {
    let mut given = file(WHOLE);
    given.sources.variables = variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    given
}

fn flag(name: &'static str, key: &'static str, value: impl Into<Value>) -> Flag {
    Flag { name, key, value: value.into() }
}

fn problems(given: &Given) -> Vec<Problem> {
    match load(&given.sources) {
        Err(ConfigError::Problems(problems)) => problems,
        other => panic!("expected problems, found {other:?}"),
    }
}

/// The one problem, as people read it.
fn problem(given: &Given) -> String {
    match problems(given).as_slice() {
        [problem] => problem.to_string(),
        several => panic!("expected one problem, found {several:#?}"),
    }
}

fn with_dev(mut given: Given) -> Given {
    given.sources.dev = Some(DevFiles { certificate: "dev.pem".into(), key: "dev-key.pem".into() });
    given
}

#[test]
fn example_holds_exactly_the_defaults() {
    let layer = Layer::of_file(&file(EXAMPLE).sources.file.unwrap()).unwrap();
    let schema = Schema::new().unwrap();
    let config: Config = schema.defaults().merge(layer.clone()).extract().unwrap();
    assert_eq!(config, Config::default());
    // That it equals the defaults says nothing of keys that are not in it.
    let mut commented = Vec::new();
    let mut section = String::new();
    for line in EXAMPLE.lines() {
        if let Some(name) = line.trim_start_matches('#').strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            // No stream is there by default, so that one is an example.
            section = format!("{}.", name.replace("streams.orders", "streams.NAME"));
        } else if let Some((key, _)) = line.trim_start_matches('#').split_once(" = ")
            && !line.starts_with("# ")
        {
            commented.push(format!("{section}{key}"));
        }
    }
    commented.sort_unstable();
    // A pace stands on one line.
    let line = |key: &String| {
        let pace = key.strip_suffix(".per_second").or_else(|| key.strip_suffix(".burst"));
        pace.unwrap_or(key).to_owned()
    };
    let known: BTreeSet<_> = schema.keys().iter().map(line).collect();
    assert_eq!(commented, known.into_iter().collect::<Vec<_>>());
}

#[test]
fn example_with_its_commented_keys_is_understood() {
    let everything: String = EXAMPLE
        .lines()
        .map(|line| if line.starts_with("# ") { "" } else { line.trim_start_matches('#') })
        .fold(String::new(), |text, line| text + line + "\n");
    let told = problems(&file(&everything));
    let keys: Vec<_> = told.iter().map(|problem| problem.key.as_str()).collect();
    // Client certificates are off, and both ways to give the token are shown.
    assert_eq!(keys, ["tls.client_ca", "admin.token_file"], "{told:#?}");
}

#[test]
fn example_shows_the_defaults_of_a_stream() {
    let lines = EXAMPLE.lines().skip_while(|line| *line != "#[streams.orders]");
    let section = lines.take_while(|line| line.starts_with('#')).filter(|line| !line.starts_with("# "));
    let section = section.map(|line| line.trim_start_matches('#')).collect::<Vec<_>>().join("\n");
    let given = file(&format!("data_dir = \"d\"\n{WHOLE}\n{section}"));
    let config = load(&given.sources).unwrap();
    let topics = vec!["orders.>".parse().unwrap()];
    assert_eq!(config.streams, [("orders".to_owned(), StreamKeys { topics, ..StreamKeys::default() })].into());
}

#[test]
fn quotas_that_make_no_sense_are_told() {
    let told = problems(&file(&format!(
        "{WHOLE}\n[quotas]\nreport_only = [\"address.connection\"]\n[quotas.broker]\nqueued_bytes = 5\n\
         [quotas.identity]\nbytes = {{ per_second = 10, burst = 5000 }}\n\
         requests = {{ per_second = 1, burst = 99999999999999 }}\n"
    )));
    let keys: Vec<_> = told.iter().map(|problem| problem.key.as_str()).collect();
    let expected =
        ["quotas.report_only", "quotas.identity.bytes", "quotas.identity.requests", "quotas.broker.queued_bytes"];
    assert_eq!(keys, expected, "{told:#?}");
    assert!(told[0].message.contains("there are broker.connections, "), "{}", told[0]);
    assert!(told[1].message.contains("at least 1048576, which is limits.max_payload_bytes"), "{}", told[1]);
    // 0 turns a quota off, whatever the burst.
    let off = file(&format!("{WHOLE}\n[quotas.connection]\nbytes = {{ per_second = 0, burst = 3 }}\n"));
    assert!(load(&off.sources).is_ok());
    let told = problem(&file(&format!("{WHOLE}\n[quotas.connection]\nconnections = 3\n")));
    assert!(
        told.starts_with("quotas.connection.connections (file ") && told.contains("there is no such key"),
        "{told}"
    );
}

#[test]
fn what_is_read_again_is_who_may_do_what_and_how_much() {
    let old = load(&file(WHOLE).sources).unwrap();
    let read = load(
        &file(&format!("{WHOLE}\nrevocations = \"r\"\n[quotas.address]\nconnections = 5\n[listen]\nbacklog = 9\n"))
            .sources,
    )
    .unwrap();
    let merged = old.with_reloadable_of(read.clone());
    assert_eq!((merged.quotas.address.connections, merged.access.revocations.is_some()), (5, true));
    assert_eq!(merged.listen.backlog, old.listen.backlog);
    assert_eq!(merged.keys_that_differ(&read), ["listen.backlog"]);
}

#[test]
fn quotas_that_are_read_again_have_to_fit_the_limits_that_stay() {
    let running = load(&file(WHOLE).sources).unwrap();
    let limits = "[limits]\nmax_payload_bytes = 1000\n";
    let quotas = "[quotas.address]\nbytes = { per_second = 1000, burst = 2000 }\n";
    let text = format!("{WHOLE}\n{limits}{quotas}");
    load(&file(&text).sources).unwrap();
    let ConfigError::Problems(problems) = load_again(&file(&text).sources, &running).unwrap_err() else { panic!() };
    let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["quotas.address.bytes", "limits.max_payload_bytes"]);
    assert!(problems[1].message.contains("after a restart only"), "{}", problems[1]);

    let (again, unheeded) = load_again(&file(&format!("{WHOLE}\n{limits}")).sources, &running).unwrap();
    assert_eq!((again.limits, unheeded), (running.limits, vec!["limits.max_payload_bytes".to_owned()]));
}

#[test]
fn defaults_alone_do_not_start() {
    let given = Given { sources: Sources::default(), _directory: tempfile::tempdir().unwrap() };
    let told = problems(&given);
    let keys: Vec<_> = told.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["tls.certificate", "tls.key", "access.file"]);
    assert!(told.iter().all(|problem| problem.origin == "default" && problem.message.contains("serve --dev")));
}

#[test]
fn flags_go_over_variables_and_these_over_the_file() {
    let mut given = file(&format!("{WHOLE}\n[listen]\nshards = 2\nbacklog = 7\naddress = \"127.0.0.1:1\"\n"));
    given.sources.variables = vec![
        ("CARILLON__LISTEN__SHARDS".to_owned(), "3".to_owned()),
        ("CARILLON__LISTEN__BACKLOG".to_owned(), "8".to_owned()),
        ("CARILLON_TOKEN".to_owned(), "of the client".to_owned()),
    ];
    given.sources.flags = vec![flag("--shards", "listen.shards", 4)];
    let config = load(&given.sources).unwrap();
    assert_eq!(config.listen.shards, Shards::Count(4));
    assert_eq!(config.listen.backlog, 8);
    assert_eq!(config.listen.address.port(), 1);
    assert_eq!(config.listen.shards.count(), 4);
}

#[test]
fn unknown_key_is_named_with_its_file_and_the_nearest_key() {
    let given = file(&format!("{WHOLE}\n[limits]\nmax_subscriptons = 5\n"));
    let told = problem(&given);
    assert!(told.starts_with("limits.max_subscriptons (file "), "{told}");
    assert!(told.contains("carillon.toml"), "{told}");
    assert!(told.contains("did you mean limits.max_subscriptions?"), "{told}");
    assert!(told.contains("allowed here: max_payload_bytes, max_message_bytes"), "{told}");
}

#[test]
fn key_in_the_wrong_section_is_told_its_right_one() {
    let told = problem(&file(&format!("max_subscriptions = 5\n{WHOLE}")));
    assert!(told.contains("did you mean limits.max_subscriptions?"), "{told}");
}

#[test]
fn unknown_section_is_told_once() {
    let told = problem(&file(&format!("{WHOLE}\n[limit]\nmax_subscriptions = 5\noutbox_bytes = 1\n")));
    assert!(told.starts_with("limit ("), "{told}");
}

#[test]
fn unknown_variable_is_named() {
    let told = problem(&variables(&[("CARILLON__LISTEN__SHARD", "2")]));
    assert!(told.starts_with("listen.shard (variable CARILLON__LISTEN__SHARD): there is no such key"), "{told}");
    let told = problem(&variables(&[("CARILLON__", "2")]));
    assert!(told.contains("CARILLON__SECTION__KEY"), "{told}");
}

#[test]
fn wrong_type_says_what_was_found_and_what_is_expected() {
    for (toml, expected) in [
        ("[limits]\nmax_subscriptions = \"many\"", "found the text \"many\", expected a whole number, 0 or more"),
        ("[limits]\nmax_subscriptions = -1", "found -1, expected a whole number, 0 or more"),
        ("[deadlines]\nwrite_seconds = \"10s\"", "found the text \"10s\", expected a number"),
        ("[deadlines]\nwrite_seconds = -2.5", "found -2.5, expected a number of seconds, 0 or more"),
        ("[listen]\nshards = \"all\"", "found the text \"all\", expected \"auto\" or a whole number from 1 to 1024"),
        ("[listen]\naddress = \"localhost\"", "found the text \"localhost\", expected an IP address and a port"),
        ("[origins]\nrequire = 1", "found 1, expected true or false"),
        ("[origins]\nallowed = \"*\"", "found the text \"*\", expected a list of texts"),
        ("[log]\nformat = \"xml\"", "found \"xml\", allowed: auto, text, json"),
    ] {
        let told = problem(&file(&format!("{WHOLE}\n{toml}")));
        assert!(told.contains(expected), "{toml}: {told}");
    }
    let told = problem(&file("listen = 5"));
    assert!(told.contains("found 5, expected a section, [listen]"), "{told}");
}

#[test]
fn client_certificates_come_with_an_authority_and_only_where_they_are_asked_for() {
    let tls = |lines: &str| file(&WHOLE.replace("[access]", &format!("{lines}\n[access]")));
    let config = load(&tls("client_certificates = \"required\"\nclient_ca = \"ca.pem\"").sources).unwrap();
    assert_eq!(config.tls.client_certificates, ClientCertificates::Required);
    let told = problem(&tls("client_certificates = \"optional\""));
    assert!(told.starts_with("tls.client_ca (default): it is needed"), "{told}");
    for unused in ["client_ca = \"ca.pem\"", "client_crls = [\"crl.pem\"]"] {
        let told = problem(&tls(unused));
        assert!(told.contains("it does nothing while tls.client_certificates is \"off\""), "{told}");
    }
    let told = problem(&tls("client_certificates = \"yes\""));
    assert!(told.contains("found \"yes\", allowed: off, optional, required"), "{told}");
}

#[test]
fn variable_with_a_wrong_value_is_named() {
    let told = problem(&variables(&[("CARILLON__LIMITS__MAX_SUBSCRIPTIONS", "lots")]));
    assert!(told.starts_with("limits.max_subscriptions (variable CARILLON__LIMITS__MAX_SUBSCRIPTIONS): "), "{told}");
    let told = problem(&variables(&[("CARILLON__LIMITS__MAX_SUBSCRIPTIONS", "0")]));
    assert!(told.starts_with("limits.max_subscriptions (variable CARILLON__LIMITS__MAX_SUBSCRIPTIONS): "), "{told}");
}

#[test]
fn every_problem_is_told_at_once() {
    let mut given = file("[limits]\nmax_subscriptions = \"x\"\nouch = 1\n[log]\nformat = 3\n");
    given.sources.variables = vec![("CARILLON__TLS__KEYS".to_owned(), "k".to_owned())];
    given.sources.flags = vec![flag("--listen", "listen.address", "nowhere")];
    let mut keys: Vec<_> = problems(&given).into_iter().map(|problem| problem.key).collect();
    keys.sort();
    assert_eq!(keys, ["limits.max_subscriptions", "limits.ouch", "listen.address", "log.format", "tls.keys"]);
}

#[test]
fn values_out_of_range_are_told_at_once_with_what_is_allowed() {
    let limits = "[limits]\nmax_subscriptions = 0\nmax_payload_bytes = 5000000\noutbox_bytes = 1\nshard_queue_bytes = 2\n\
                  max_http_head_bytes = 100\n[deadlines]\nwrite_seconds = 0\n[log]\nlevel = \"a=b=c\"\n\
                  [origins]\nrequire = true\n";
    let given = file(&format!("{WHOLE}\n{limits}"));
    let told = problems(&given);
    let keys: Vec<_> = told.iter().map(|problem| problem.key.as_str()).collect();
    let expected = [
        "origins.require",
        "limits.max_message_bytes",
        "limits.max_subscriptions",
        "limits.outbox_bytes",
        "limits.shard_queue_bytes",
        "limits.max_http_head_bytes",
        "deadlines.write_seconds",
        "log.level",
    ];
    assert_eq!(keys, expected, "{told:#?}");
    // The value that does not fit is a default: the one that somebody wrote is named in the message.
    assert_eq!(told[1].origin, "default");
    assert!(told[1].message.contains("at least 5001024, which is limits.max_payload_bytes"), "{}", told[1]);
    assert!(told[2].origin.starts_with("file "));
}

#[test]
fn file_that_is_missing_or_broken_is_an_error() {
    let mut given = file(WHOLE);
    given.sources.file = Some("/nonexistent/carillon.toml".into());
    let told = load(&given.sources).unwrap_err().to_string();
    assert!(told.contains("/nonexistent/carillon.toml cannot be read"), "{told}");

    let told = load(&file("[limits\n").sources).unwrap_err().to_string();
    assert!(told.contains("is not valid TOML") && told.contains("line 1"), "{told}");
}

#[test]
fn token_of_digits_stays_text_and_is_never_shown() {
    let config = load(&variables(&[("CARILLON__ADMIN__TOKEN", "0123456789012345")]).sources).unwrap();
    assert_eq!(config.admin.token.as_ref().unwrap().expose(), "0123456789012345");
    assert!(!format!("{config:?}").contains("0123456789012345"));

    let told = problem(&file(&format!("{WHOLE}\n[admin]\ntoken = 1234567890123456\n")));
    assert!(!told.contains("1234567890123456"), "{told}");
    let told = problem(&file(&format!("{WHOLE}\n[admin]\ntoken = \"hunter2\"\n")));
    assert!(told.contains("shorter than 16") && !told.contains("hunter2"), "{told}");
}

#[test]
fn variables_hold_lists_and_fractions() {
    let config = load(
        &variables(&[
            ("CARILLON__ORIGINS__ALLOWED", r#"["https://a.example", "http://b.example:8080"]"#),
            ("CARILLON__DEADLINES__WRITE_SECONDS", "0.5"),
            ("CARILLON__DATA_DIR", "/srv/1"),
        ])
        .sources,
    )
    .unwrap();
    assert_eq!(
        config.origins.allowed.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["https://a.example", "http://b.example:8080"]
    );
    assert_eq!(config.deadlines.write, Duration::from_millis(500));
    assert_eq!(config.data_dir.as_deref(), Some("/srv/1".as_ref()));
}

#[test]
fn admin_off_loopback_needs_tls_and_a_token() {
    let told = problems(&file(&format!("{WHOLE}\n[admin]\naddress = \"0.0.0.0:8444\"\n")));
    let keys: Vec<_> = told.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["admin.certificate", "admin.token"]);

    let toml = "[admin]\naddress = \"0.0.0.0:8444\"\ncertificate = \"c\"\nkey = \"k\"\ntoken_file = \"t\"\n";
    load(&file(&format!("{WHOLE}\n{toml}")).sources).unwrap();
}

#[test]
fn admin_and_clients_cannot_share_an_address() {
    let told = problem(&file(&format!("{WHOLE}\n[admin]\naddress = \"127.0.0.1:8443\"\n")));
    assert!(told.starts_with("admin.address (file "), "{told}");
}

#[test]
fn dev_opens_loopback_and_nothing_else() {
    let given = Given { sources: Sources::default(), _directory: tempfile::tempdir().unwrap() };
    let config = load(&with_dev(given).sources).unwrap();
    assert!(config.access.anonymous && config.origins.allow_loopback);
    assert_eq!(config.access.anonymous_roles, [DEV_ROLE]);
    assert_eq!(config.tls.certificate.as_deref(), Some("dev.pem".as_ref()));

    let mut given = with_dev(file(""));
    given.sources.flags = vec![flag("--listen", "listen.address", "0.0.0.0:8443")];
    let told = problem(&given);
    assert!(told.starts_with("listen.address (flag --listen): --dev lets everybody in"), "{told}");
}

#[test]
fn file_goes_over_dev() {
    let config = load(&with_dev(file("[tls]\ncertificate = \"own.pem\"\nkey = \"own-key.pem\"\n")).sources).unwrap();
    assert_eq!(config.tls.certificate.as_deref(), Some("own.pem".as_ref()));
    let told = problem(&with_dev(file("[access]\nanonymous = false\n")));
    assert!(told.starts_with("access.file (default): nobody could connect"), "{told}");
    let own = "[access]\nfile = \"a.toml\"\nanonymous_roles = [\"guest\"]\n";
    let config = load(&with_dev(file(own)).sources).unwrap();
    assert!(config.access.anonymous);
    assert_eq!(config.access.anonymous_roles, ["guest"]);
}

#[test]
fn anonymous_needs_roles_of_a_file() {
    let tls = "[tls]\ncertificate = \"c\"\nkey = \"k\"\n[access]\nanonymous = true\n";
    let told = problem(&file(tls));
    assert!(told.starts_with("access.anonymous_roles (default): "), "{told}");
    assert!(told.contains("name a role of access.file"), "{told}");
    let told = problem(&file(&format!("{tls}anonymous_roles = [\"guest\", \"reader\"]\n")));
    assert!(told.starts_with("access.file (default): it is needed") && told.contains("guest, reader"), "{told}");
    load(&file(&format!("{tls}anonymous_roles = [\"guest\"]\nfile = \"access.toml\"\n")).sources).unwrap();
}

#[test]
fn built_in_role_of_dev_cannot_be_configured() {
    let given = file(&format!("{WHOLE}anonymous = true\nanonymous_roles = [\"{DEV_ROLE}\"]\n"));
    let told = problem(&given);
    assert!(told.starts_with("access.anonymous_roles (file ") && told.contains("\"$dev\""), "{told}");
}

#[test]
fn proxies_are_networks_and_one_protocol() {
    let with = |toml: &str| file(&format!("{WHOLE}\n[proxies]\n{toml}\n"));
    let config =
        load(&with("trusted = [\"10.0.0.0/8\", \"::ffff:192.0.2.7\", \"fd00::/8\"]\nprotocol = \"proxy-v2\"").sources);
    let proxies = config.unwrap().settings().proxies;
    assert_eq!(proxies.protocol, ProxyProtocol::ProxyV2);
    let is_trusted = |address: &str| proxies.is_trusted(address.parse().unwrap());
    assert!(
        is_trusted("10.1.2.3") && is_trusted("::ffff:10.1.2.3") && is_trusted("192.0.2.7") && is_trusted("fd00::1")
    );
    assert!(!is_trusted("192.0.2.8") && !is_trusted("2001:db8::1"));

    for (toml, expected) in [
        ("trusted = [\"10.0.0.1/8\"]", "write \"10.0.0.0/8\""),
        (
            "trusted = [\"proxy\", \"10.0.0.0/33\"]",
            "\"proxy\" is no network; expected an address, or an address and the length",
        ),
        ("trusted = [\"proxy\", \"10.0.0.0/33\"]", "has a prefix of 33 bits"),
        ("trusted = \"10.0.0.0/8\"", "expected a list of texts"),
        ("trusted = [\"10.0.0.0/8\"]", "set proxies.protocol to the one that they speak"),
        ("protocol = \"forwarded\"", "nobody would be believed"),
        ("protocol = \"proxy-v1\"", "allowed: none, x-forwarded-for, forwarded, proxy-v2"),
        ("trusted = [\"0.0.0.0/0\"]\nprotocol = \"forwarded\"", "prefixes of at least 8 bits"),
        ("trusted = [\"::/0\"]\nprotocol = \"forwarded\"", "prefixes of at least 7 bits"),
    ] {
        let told = problem(&with(toml));
        assert!(told.starts_with("proxies.") && told.contains(expected), "{toml}: {told}");
    }
}

#[test]
fn origins_are_patterns() {
    let with = |list: &str| file(&format!("{WHOLE}\n[origins]\nallowed = {list}\n"));
    let list = r#"["https://app.example.com", "https://*.example.com:8443", "null"]"#;
    load(&with(list).sources).unwrap();
    let told = problem(&with(r#"["https://app.example.com/", "https://*.com", "https://bücher.example"]"#));
    assert!(told.starts_with("origins.allowed (file "), "{told}");
    for expected in ["write \"https://app.example.com\"", "one whole label", "xn--"] {
        assert!(told.contains(expected), "{told}");
    }
}

#[test]
fn access_alone_asks_for_nothing_else() {
    let access = load_access(&file("[access]\nfile = \"access.toml\"\n").sources).unwrap();
    assert_eq!(access.file.as_deref(), Some("access.toml".as_ref()));
    let ConfigError::Problems(told) = load_access(&file("").sources).unwrap_err() else { panic!("no problems") };
    assert_eq!(told.len(), 1);
    assert!(load_access(&file("[limits]\nouch = 1\n").sources).is_err());
}

#[test]
fn syntax_error_shows_nothing_of_the_line() {
    let told = load(&file("[admin]\n\ntoken = \"hunter2-hunter2-hunter2\n").sources).unwrap_err().to_string();
    assert!(told.contains("line 3, column ") && !told.contains("hunter2"), "{told}");
}

mod streams;
