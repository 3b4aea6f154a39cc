//! The words of the protocol: JSON-RPC frames, kept byte for byte; nothing is re-modelled. Pure.
