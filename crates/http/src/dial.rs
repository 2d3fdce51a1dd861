//! From a host's name to a TCP connection, with the address rules in between.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::{net::TcpStream, time::sleep};

use crate::{
    address::AddressClass,
    error::{HttpError, HttpErrorKind},
    failure::plain,
};

/// How long one address may keep the next one waiting (RFC 8305).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

/// Resolves names once, checks every address, connects only to those.
#[derive(Debug, Clone)]
pub(crate) struct Dialer {
    /// Whether addresses that are not public may be reached.
    pub(crate) allow_private: bool,
    /// Names with fixed addresses.
    pub(crate) fixed: HashMap<String, Vec<SocketAddr>>,
}

impl Dialer {
    /// The addresses of a host, all of them allowed.
    pub(crate) async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, HttpError> {
        let addresses = match host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, port)],
            Err(_) => match self.fixed.get(&host.to_ascii_lowercase()) {
                Some(addresses) => addresses.iter().map(|it| with_port(*it, port)).collect(),
                None => look_up(host, port).await?,
            },
        };
        if addresses.is_empty() {
            return Err(unresolved("no address"));
        }
        if !self.allow_private {
            // One bad address refuses the name: an answer that mixes both is an attack or a mistake.
            for address in &addresses {
                let class = AddressClass::of(address.ip());
                if !class.is_public() {
                    return Err(refused(address.ip(), class));
                }
            }
        }
        Ok(addresses)
    }

    /// A connection to the first address that answers, the families taking turns.
    pub(crate) async fn connect(&self, addresses: Vec<SocketAddr>) -> Result<TcpStream, HttpError> {
        let stream = match addresses[..] {
            [only] => TcpStream::connect(only).await,
            _ => race(addresses).await,
        }
        .map_err(|error| {
            let message =
                format!("cannot connect ({}); check the address and that it listens", plain(&error));
            HttpError::new(HttpErrorKind::Connect, message).because(error)
        })?;
        // Requests are written in whole; waiting for more only costs time.
        stream.set_nodelay(true).ok();
        Ok(stream)
    }
}

fn with_port(mut address: SocketAddr, port: u16) -> SocketAddr {
    if address.port() == 0 {
        address.set_port(port);
    }
    address
}

async fn look_up(host: &str, port: u16) -> Result<Vec<SocketAddr>, HttpError> {
    match tokio::net::lookup_host((host, port)).await {
        Ok(found) => Ok(found.collect()),
        Err(error) => Err(unresolved(&error.to_string()).because(error)),
    }
}

fn unresolved(problem: &str) -> HttpError {
    let message = format!("the name cannot be resolved ({problem}); check its spelling");
    HttpError::new(HttpErrorKind::Dns, message)
}

fn refused(address: IpAddr, class: AddressClass) -> HttpError {
    let message = format!(
        "address {address} is {} and only public addresses may be reached; allow private addresses if it is meant",
        class.name()
    );
    HttpError::new(HttpErrorKind::AddressRefused, message)
}

async fn race(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut waiting = take_turns(addresses).into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        if let Some(address) = waiting.next() {
            attempts.push(TcpStream::connect(address));
        } else if attempts.is_empty() {
            return Err(last);
        }
        let done = tokio::select! {
            Some(done) = attempts.next() => done,
            () = sleep(NEXT_ADDRESS), if waiting.len() > 0 => continue,
            else => continue,
        };
        match done {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
}

/// The resolver's order, its families alternating.
fn take_turns(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|it| it.is_ipv6() == first_is_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut order = Vec::with_capacity(first.len() + second.len());
    loop {
        let pair = (first.next(), second.next());
        if pair == (None, None) {
            return order;
        }
        order.extend(pair.0);
        order.extend(pair.1);
    }
}
