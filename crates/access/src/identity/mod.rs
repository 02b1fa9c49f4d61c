//! Who is connected, and how that is proved.
