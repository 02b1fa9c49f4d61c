//! Subscribes to a topic, publishes to it, and prints what comes back. With a broker of `carillon serve --dev`:
//!
//! ```sh
//! cargo run -p carillon-client --example echo -- wss://localhost:8443 ~/.local/share/carillon/dev/ca.pem
//! ```

use std::{env, error::Error};

use carillon_client::{Client, Event, Notice, SubscribeOptions};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let (Some(url), Some(ca)) = (arguments.next(), arguments.next()) else {
        return Err("usage: echo URL CA-FILE".into());
    };
    let client = Client::builder(url)
        .ca_file(ca)
        .name("echo/1.0")
        .on_notice(|notice| {
            if let Notice::Disconnected { cause, .. } = notice {
                eprintln!("disconnected: {cause}");
            }
        })
        .connect()
        .await?;

    let mut echoes = client.subscribe("example.echo.*", SubscribeOptions::default()).await?;
    for number in 1..=3 {
        let payload = format!("message {number}");
        client.publication("example.echo.one", payload).header("content-type", "text/plain").acknowledged().await?;
    }
    for _ in 1..=3 {
        match echoes.next().await {
            Some(Event::Message(message)) => {
                println!("{} {}", message.topic(), String::from_utf8_lossy(message.payload()));
            }
            Some(Event::Gap(gap)) => println!("{} messages of {} are missing", gap.count, gap.pattern),
            Some(Event::Reconnected(how)) => println!("messages may be missing: {}", how.cause),
            other => return Err(format!("the subscription ended: {other:?}").into()),
        }
    }
    client.close().await?;
    Ok(())
}
