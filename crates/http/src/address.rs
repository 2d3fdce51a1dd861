//! Which addresses are public: the rules for requests whose target was not chosen by the operator.
//!
//! Source: the IANA special-purpose registries for IPv4 and IPv6. Forms that carry an IPv4 address
//! inside an IPv6 one are never public, whatever they carry: a gateway may send them anywhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an address is for. Only [`AddressClass::Public`] may be reached without permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AddressClass {
    /// Globally reachable unicast.
    Public,
    /// `0.0.0.0/8`, `::`.
    Unspecified,
    /// `127.0.0.0/8`, `::1`.
    Loopback,
    /// RFC 1918 and unique local addresses (`fc00::/7`).
    Private,
    /// `169.254.0.0/16`, `fe80::/10`; cloud metadata services live here.
    LinkLocal,
    /// Deprecated `fec0::/10`.
    SiteLocal,
    /// `100.64.0.0/10`, shared by carriers.
    CarrierNat,
    /// Reserved for documentation.
    Documentation,
    /// Reserved for benchmarks.
    Benchmarking,
    /// Multicast.
    Multicast,
    /// `255.255.255.255`.
    Broadcast,
    /// An IPv4 address within an IPv6 one: mapped, compatible, translated, 6to4, Teredo, NAT64.
    Transition,
    /// A public-looking address that a cloud answers itself (`168.63.129.16`).
    CloudService,
    /// Not assigned, or assigned to protocols.
    Reserved,
}

impl AddressClass {
    /// The class of an address.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => of_v4(address),
            IpAddr::V6(address) => of_v6(address),
        }
    }

    /// Whether any host on the internet may be meant.
    pub fn is_public(self) -> bool {
        self == Self::Public
    }

    /// The word for messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Unspecified => "unspecified",
            Self::Loopback => "loopback",
            Self::Private => "private",
            Self::LinkLocal => "link-local",
            Self::SiteLocal => "site-local",
            Self::CarrierNat => "carrier NAT",
            Self::Documentation => "documentation",
            Self::Benchmarking => "benchmarking",
            Self::Multicast => "multicast",
            Self::Broadcast => "broadcast",
            Self::Transition => "IPv4-in-IPv6",
            Self::CloudService => "cloud service",
            Self::Reserved => "reserved",
        }
    }
}

fn of_v4(address: Ipv4Addr) -> AddressClass {
    use AddressClass::*;
    match address.octets() {
        [0, ..] => Unspecified,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Private,
        [100, 64..=127, ..] => CarrierNat,
        [127, ..] => Loopback,
        [169, 254, ..] => LinkLocal,
        [168, 63, 129, 16] => CloudService,
        [192, 0, 0, _] => Reserved,
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Documentation,
        [192, 88, 99, _] => Transition,
        [198, 18..=19, ..] => Benchmarking,
        [224..=239, ..] => Multicast,
        [255, 255, 255, 255] => Broadcast,
        [240..=255, ..] => Reserved,
        _ => Public,
    }
}

fn of_v6(address: Ipv6Addr) -> AddressClass {
    use AddressClass::*;
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Unspecified,
        [0, 0, 0, 0, 0, 0, 0, 1] => Loopback,
        // Compatible, mapped and translated (SIIT).
        [0, 0, 0, 0, 0, 0 | 0xffff, _, _] | [0, 0, 0, 0, 0xffff, 0, _, _] => Transition,
        // NAT64, well-known and local-use.
        [0x64, 0xff9b, 0, 0, 0, 0, _, _] | [0x64, 0xff9b, 1, ..] => Transition,
        // Teredo and 6to4.
        [0x2001, 0, ..] | [0x2002, ..] => Transition,
        [0x2001, 2, 0, ..] => Benchmarking,
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0x0fff, ..] => Documentation,
        [0x2001, 0..=0x1ff, ..] => Reserved,
        [0xfc00..=0xfdff, ..] => Private,
        [0xfe80..=0xfebf, ..] => LinkLocal,
        [0xfec0..=0xfeff, ..] => SiteLocal,
        [0xff00..=0xffff, ..] => Multicast,
        [0x2000..=0x3fff, ..] => Public,
        _ => Reserved,
    }
}
