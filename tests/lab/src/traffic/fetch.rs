//! Short transfers, one after the other: how long a page takes beside a load.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde::{Deserialize, Serialize};

use super::READY;
use super::pace::Pace;
use crate::clock::monotonic_ns;
use crate::link::{Histogram, Summary};

/// What to fetch.
#[derive(Args, Clone, Debug)]
pub struct FetchOptions {
    /// Where a page-serve listens
    #[arg(long)]
    pub to: SocketAddr,
    /// Bytes of a page
    #[arg(long, default_value_t = 30_000)]
    pub bytes: u32,
    /// Pages a second
    #[arg(long, default_value_t = 1.0)]
    pub rate: f64,
    /// How long to fetch
    #[arg(long, default_value_t = 10.0)]
    pub seconds: f64,
}

/// Where to serve.
#[derive(Args, Clone, Debug)]
pub struct ServeOptions {
    /// Address and port
    #[arg(long)]
    pub listen: SocketAddr,
}

/// How long the pages took.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct FetchReport {
    /// Pages asked for.
    pub asked: u64,
    /// Pages that did not come whole within [`PAGE_MAX`].
    pub failed: u64,
    /// From connecting to the last byte, in microseconds.
    pub page_us: Summary,
    /// What 95 % of the pages did not exceed, in microseconds.
    pub page_p95_us: f64,
}

/// Fetches pages at a steady rate, each over a connection of its own; one that takes longer than
/// the interval delays the next.
///
/// # Errors
/// When an option makes no sense.
pub fn fetch(options: &FetchOptions) -> Result<FetchReport> {
    if !(0.01..=1000.0).contains(&options.rate) || !(1..=BYTES_MAX).contains(&options.bytes) {
        bail!("--rate is from 0.01 to 1000 pages a second, --bytes at most {BYTES_MAX}");
    }
    let (mut times, mut failed) = (Histogram::default(), 0);
    let count = (options.rate * options.seconds.clamp(0.0, 86_400.0)).floor() as u64;
    let mut pace = Pace::new(options.rate);
    for _ in 0..count {
        pace.sleep()?;
        pace.take();
        let began_ns = monotonic_ns();
        match page(options) {
            Ok(()) => times.insert(monotonic_ns() - began_ns),
            Err(_) => failed += 1,
        }
    }
    let page_p95_us = times.quantile(0.95) as f64 / 1000.0;
    Ok(FetchReport { asked: count, failed, page_us: times.summary(0.001), page_p95_us })
}

/// Serves pages of whatever size is asked for, until the process ends.
///
/// # Errors
/// When the socket can't be had.
pub fn serve(options: &ServeOptions) -> Result<()> {
    let listener = TcpListener::bind(options.listen)
        .with_context(|| format!("listen on {}", options.listen))?;
    eprintln!("{READY}");
    for stream in listener.incoming() {
        let stream = stream.context("wait for who fetches")?;
        // Whoever asked may be gone.
        std::thread::spawn(move || drop(answer(stream)));
    }
    Ok(())
}

fn page(options: &FetchOptions) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&options.to, PAGE_MAX)?;
    stream.set_read_timeout(Some(PAGE_MAX))?;
    stream.set_nodelay(true)?;
    stream.write_all(&options.bytes.to_be_bytes())?;
    let mut left = options.bytes as usize;
    let mut block = vec![0; 64 << 10];
    while left > 0 {
        match stream.read(&mut block)? {
            0 => bail!("the page ended early"),
            len => left = left.saturating_sub(len),
        }
    }
    Ok(())
}

fn answer(mut stream: TcpStream) -> Result<()> {
    let mut asked = [0; 4];
    stream.set_read_timeout(Some(PAGE_MAX))?;
    stream.read_exact(&mut asked)?;
    let bytes = u32::from_be_bytes(asked).min(BYTES_MAX);
    stream.write_all(&vec![0x5a; bytes as usize])?;
    Ok(())
}

/// How long a page may take.
pub const PAGE_MAX: Duration = Duration::from_secs(10);
/// Bytes of a page at most.
const BYTES_MAX: u32 = 16 << 20;
