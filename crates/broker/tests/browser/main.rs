//! The page at `/watch` in a real browser, over real TLS: what the broker delivers shows up in it as it comes.
//!
//! Needs Chromium with its driver, and certutil; `make test` installs them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod broker;
mod webdriver;

use std::{fs, path::Path};

use serde_json::Value;

use self::{broker::Home, webdriver::Browser};

const STATE_IS: &str = "return document.getElementById('state').textContent === arguments[0]";
/// The newest payload that came on a topic with this end.
const NEWEST: &str = "
    const row = [...document.querySelectorAll('#events tr.delivery')]
        .find((row) => row.querySelector('.topic').textContent.endsWith(arguments[0]));
    return row?.querySelector('.payload').textContent ?? null;";
/// Whether a row holds this text.
const ROW_HOLDS: &str = "
    return [...document.querySelectorAll('#events tr')].some((row) => row.textContent.includes(arguments[0]));";

#[test]
fn page_shows_this_hosts_own_events_as_they_come() {
    if !webdriver::is_installed() {
        return;
    }
    let home = Home::new();
    let broker = home.serve(0);
    let browser = Browser::start(&home.ca());
    browser.open(&broker.page("host.%3E"));
    browser.wait_for(STATE_IS, "watching");
    let mut feed = home.feed(&broker);

    let payload = |topic| -> Value {
        let text = browser.wait_for(NEWEST, topic);
        serde_json::from_str(text.as_str().unwrap()).unwrap()
    };
    let busy = payload(".cpu")["busy_percent"].as_f64().unwrap();
    assert!((0.0..=100.0).contains(&busy), "{busy}");
    assert_eq!(payload(".memory")["total_kib"], total_memory_kib());
    assert!(payload(".load")["tasks"].as_u64().unwrap() > 0);

    let mut process = home.idle();
    let pid = format!("{{\"pid\":{},", process.id());
    browser.wait_for(ROW_HOLDS, &format!(".process.started{pid}"));
    process.leave();
    browser.wait_for(ROW_HOLDS, &format!(".process.exited{pid}"));

    browser.screenshot(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("watch.png"));
    assert_eq!(browser.run("return document.getElementById('missed').textContent", ""), "0");
    assert_eq!(browser.complaints(), Vec::<Value>::new());
    assert!(feed.leave(), "the feed published all that it read");
}

#[test]
fn page_comes_back_after_a_restart() {
    if !webdriver::is_installed() {
        return;
    }
    let home = Home::new();
    let mut broker = home.serve(0);
    let browser = Browser::start(&home.ca());
    browser.open(&broker.page("page.*"));
    browser.wait_for(STATE_IS, "watching");
    home.publish(&broker, "page.before", "1");
    browser.wait_for(NEWEST, "page.before");

    assert!(broker.process.leave(), "a broker that drains says that all went well");
    browser.wait_for(ROW_HOLDS, "the broker is about to close");
    let broker = home.serve(broker.port());
    browser.wait_for(STATE_IS, "watching");
    browser.wait_for(ROW_HOLDS, "back again");
    home.publish(&broker, "page.after", "2");
    assert_eq!(browser.wait_for(NEWEST, "page.after"), "2");
}

#[test]
fn payload_stays_text() {
    if !webdriver::is_installed() {
        return;
    }
    let home = Home::new();
    let broker = home.serve(0);
    let browser = Browser::start(&home.ca());
    browser.open(&broker.page("%3E"));
    browser.wait_for(STATE_IS, "watching");
    let html = "<img src=x onerror=\"document.title='run'\"><script>document.title='run'</script>";
    home.publish(&broker, "page.html", html);
    assert_eq!(browser.wait_for(NEWEST, "page.html"), html);
    assert_eq!(browser.run("return document.querySelectorAll('#events img, #events script').length", ""), 0);
    assert_eq!(browser.run("return document.title", ""), "Carillon: watch");
}

/// As the kernel tells it.
fn total_memory_kib() -> u64 {
    let told = fs::read_to_string("/proc/meminfo").unwrap();
    let line = told.lines().find(|line| line.starts_with("MemTotal:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
