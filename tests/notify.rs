//! Where people are told, over real sockets, by receivers that fail in every way.

mod notify {
    mod delivery;
    mod following;
    mod rig;
    mod secrecy;
    mod words;
}
