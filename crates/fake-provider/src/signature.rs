//! Signs thinking, so that a block that comes back changed is seen.
//!
//! This is a checksum against accidents of a client, not cryptography.

/// The signature of a thinking text.
pub fn sign(thinking: &str) -> String {
    format!("fakesig-{:016x}{:016x}", hash(0x5eed, thinking), hash(0xfeed, thinking))
}

/// Whether `signature` was made for exactly this text.
pub fn verify(thinking: &str, signature: &str) -> bool {
    sign(thinking) == signature
}

/// The opaque data of a redacted thinking block.
pub fn redact(thinking: &str) -> String {
    let hidden = hash(0xda7a, thinking);
    format!("fakered-{hidden:016x}-{:016x}", hash(0x5eed, &hidden.to_string()))
}

/// Whether `data` is a redacted block of ours, unchanged.
pub fn verify_redacted(data: &str) -> bool {
    let Some((hidden, check)) = data.strip_prefix("fakered-").and_then(|rest| rest.split_once('-')) else {
        return false;
    };
    u64::from_str_radix(hidden, 16)
        .is_ok_and(|hidden| format!("{:016x}", hash(0x5eed, &hidden.to_string())) == check)
}

/// FNV-1a: the same in every process and on every machine.
fn hash(seed: u64, text: &str) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325 ^ seed;
    text.bytes().fold(start, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}
