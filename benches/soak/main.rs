//! A soak: the real binary under churn of every kind, and what it holds of memory and descriptors over
//! time. `cargo bench --bench soak` takes twenty minutes, `-- 60` as many as are said.
//!
//! It fails where one of them climbs, where the residents, who stay connected all the while, have not
//! heard the same messages in the same order, and where a descriptor is left when the churn is over.

mod churn;
mod door;
mod gauge;
mod relay;
mod resident;

use std::cell::Cell;
use std::error::Error;
use std::rc::Rc;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::time::{Instant, interval, sleep};

use churn::Tally;
use gauge::{Gauge, Sample};
use relay::Relay;
use resident::Resident;

/// How long it takes when no number of minutes is given.
const MINUTES: u64 = 20;
const SAMPLE_EVERY: Duration = Duration::from_secs(5);
/// A line is printed for this many samples.
const SAMPLES_PER_LINE: usize = 12;
/// The script is written anew, or a HUP sent, this often.
const RELOAD_EVERY: Duration = Duration::from_secs(7);
/// How many sessions come and go at the same time.
const CHURNERS: u64 = 12;
const RESIDENTS: usize = 40;

fn main() -> Result<(), Box<dyn Error>> {
    // cargo says --bench.
    let minutes = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(MINUTES);
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(soak(Duration::from_secs(60 * minutes)))
}

async fn soak(time: Duration) -> Result<(), Box<dyn Error>> {
    let relay = Rc::new(Relay::start()?);
    let door = relay.door()?;
    let mut residents = Vec::new();
    for number in 0..RESIDENTS {
        residents.push(Resident::connect(&door, number).await?);
    }
    let before = relay.sample()?;
    println!("{RESIDENTS} residents, {CHURNERS} sessions at a time; {before}");

    let over = Rc::new(Cell::new(false));
    let tally = Rc::new(Tally::default());
    let churners: Vec<_> = (0..CHURNERS)
        .map(|seed| {
            let churn = churn::churn(door.clone(), seed, Rc::clone(&tally), Rc::clone(&over));
            tokio::task::spawn_local(churn)
        })
        .collect();
    let reloads = tokio::task::spawn_local(reload(Rc::clone(&relay), Rc::clone(&over)));
    let gauge = watch(&relay, &tally, time).await?;
    over.set(true);
    for churner in churners {
        churner.await?;
    }
    let reloads = reloads.await?;

    println!("{tally}, {reloads} reloads");
    let after = settled(&relay, before).await?;
    println!("when all is over: {after}");
    let heard = resident::same(residents).await?;
    println!("each resident has heard the same {heard} messages in the same order");
    gauge.judge()?;
    if after.descriptors > before.descriptors {
        return Err("descriptors are left when the churn is over".into());
    }
    Ok(())
}

/// Samples as long as the soak lasts, and prints some.
async fn watch(relay: &Relay, tally: &Tally, time: Duration) -> Result<Gauge, Box<dyn Error>> {
    let (since, mut gauge) = (Instant::now(), Gauge::default());
    let mut tick = interval(SAMPLE_EVERY);
    while since.elapsed() < time {
        tick.tick().await;
        let sample = relay.sample()?;
        let samples = gauge.add(since.elapsed(), sample);
        if samples % SAMPLES_PER_LINE == 1 {
            println!("{:5} s  {sample}  {} sessions", since.elapsed().as_secs(), tally.sessions());
        }
    }
    Ok(gauge)
}

/// Has the script loaded again and again; how often.
async fn reload(relay: Rc<Relay>, over: Rc<Cell<bool>>) -> usize {
    let mut count = 0;
    while !over.get() {
        sleep(RELOAD_EVERY).await;
        count += 1;
        if let Err(error) = relay.reload(count) {
            println!("no reload: {error}");
        }
    }
    count
}

/// What is held once the descriptors of what is over are closed, or after a while.
async fn settled(relay: &Relay, before: Sample) -> Result<Sample, Box<dyn Error>> {
    for _ in 0..30 {
        let sample = relay.sample()?;
        if sample.descriptors <= before.descriptors {
            return Ok(sample);
        }
        sleep(Duration::from_secs(1)).await;
    }
    Ok(relay.sample()?)
}
