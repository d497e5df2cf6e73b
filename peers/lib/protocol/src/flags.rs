//! Flags of a request.

bitflags::bitflags! {
    /// How a request wants to be served. The first five carry the original's numbers.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Flags: u32 {
        /// Fail with `Busy` instead of waiting (acquire).
        const NOSYNC = 1;
        /// Everything answered before is durable when this is answered.
        const FLUSH = 2;
        /// This write is durable when it is answered.
        const FUA = 4;
        /// Break what is in the way (release, acquire).
        const FORCE = 8;
        /// Read a map without signature as version 0.
        const ASSUMEV0 = 16;
        /// Write only if the object does not exist.
        const EXCLUSIVE = 32;
        /// The object becomes exactly these bytes, atomically and durably.
        const REPLACE = 64;
        /// Refuse with `NotOwner` unless the lock named in the argument has the request's number.
        const FENCED = 128;
        /// The sender's successor need not wait for the answer.
        const ABANDONABLE = 256;
        /// The range must be free of data afterwards, or the request fails at once (write zeroes: fast or not at all).
        const FAST = 512;
        /// Zeroes may give their space back (write zeroes).
        const MAY_TRIM = 1024;
        /// Shared blocks may become partial: only what is written goes to their own objects (map write).
        const PARTIAL = 2048;
        /// The own objects of these partial blocks hold all of them (map write).
        const WHOLE = 4096;
        /// Only say whether it would be done (open).
        const LOOK = 8192;
    }
}
