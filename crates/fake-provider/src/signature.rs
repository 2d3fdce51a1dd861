//! Signs thinking, so that what comes back changed is seen.
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

/// The encrypted content of a reasoning item, which knows its item.
pub fn encrypt(item: &str, thinking: &str) -> String {
    let hidden = format!("{:016x}.{item}", hash(0xda7a, thinking));
    format!("gAAAAfake.{hidden}.{:016x}", hash(0x5eed, &hidden))
}

/// The item that this content was encrypted for, if it is unchanged.
pub fn decrypt(content: &str) -> Option<&str> {
    let (hidden, check) = content.strip_prefix("gAAAAfake.")?.rsplit_once('.')?;
    let (_, item) = hidden.split_once('.')?;
    (format!("{:016x}", hash(0x5eed, hidden)) == check).then_some(item)
}

/// The thought signature that goes with `what`. It is valid base64, as the format demands.
pub fn thought(what: &str) -> String {
    let hidden = format!("{:016x}", hash(0xda7a, what));
    format!("fake{hidden}{:016x}", hash(0x5eed, &hidden))
}

/// Whether this is a thought signature of ours, unchanged.
pub fn verify_thought(signature: &str) -> bool {
    let Some(rest) = signature.strip_prefix("fake") else { return false };
    rest.split_at_checked(16).is_some_and(|(hidden, check)| format!("{:016x}", hash(0x5eed, hidden)) == check)
}

/// FNV-1a: the same in every process and on every machine.
fn hash(seed: u64, text: &str) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325 ^ seed;
    text.bytes().fold(start, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}
