//! The command line.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

const HELP: &str = "\
What does a pipeline gain over a retry loop? Two HTTP servers turn slow, failing, dead and healthy
again. One client calls the first server with a plain loop of three attempts, another client calls
the second server through a mainstay pipeline.

Usage: cargo run --release --example quickstart -- [options]

  --seconds <4 to 120>   length of the run with all its phases, default 15
  --rps <20 to 400>      calls offered to each client per second, default 100
                         (each call in progress holds two sockets: above 100, see `ulimit -n`)
  --svg <path>           file for the picture, default target/quickstart.svg
  --help                 this text";

pub(crate) struct Options {
    pub(crate) length: Duration,
    pub(crate) rps: u32,
    pub(crate) svg: PathBuf,
}

impl Options {
    /// Parses the command line; returns the exit code if it asks for help or is invalid.
    pub(crate) fn from_arguments() -> Result<Self, ExitCode> {
        match Self::parse(std::env::args().skip(1)) {
            Ok(Some(options)) => Ok(options),
            Ok(None) => {
                println!("{HELP}");
                Err(ExitCode::SUCCESS)
            }
            Err(message) => {
                eprintln!("{message}; --help lists the options");
                Err(ExitCode::from(2))
            }
        }
    }

    /// Parses the arguments; returns `None` if they ask for help.
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut options = Self {
            length: Duration::from_secs(15),
            rps: 100,
            svg: PathBuf::from("target/quickstart.svg"),
        };
        while let Some(name) = arguments.next() {
            if name == "--help" || name == "-h" {
                return Ok(None);
            }
            let mut value = || arguments.next().ok_or_else(|| format!("{name} needs a value"));
            match name.as_str() {
                "--seconds" => {
                    options.length =
                        Duration::from_secs_f64(number(&name, &value()?, &(4.0..=120.0))?);
                }
                "--rps" => options.rps = number(&name, &value()?, &(20..=400))?,
                "--svg" => options.svg = PathBuf::from(value()?),
                _ => return Err(format!("there is no option {name}")),
            }
        }
        Ok(Some(options))
    }
}

fn number<N>(name: &str, text: &str, accepted: &RangeInclusive<N>) -> Result<N, String>
where
    N: FromStr + PartialOrd + Display,
{
    match text.parse() {
        Ok(number) if accepted.contains(&number) => Ok(number),
        _ => {
            let (min, max) = (accepted.start(), accepted.end());
            Err(format!("{name} is {text}; accepted: a number from {min} to {max}"))
        }
    }
}
