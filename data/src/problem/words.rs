//! The words problems are made of: short, common in prose and in source code.

/// Lower-case words of three to six letters, all different.
pub(super) const WORDS: [&str; 144] = [
    "name", "value", "list", "type", "file", "line", "code", "test", "error", "index", "key", "data", "node", "size", "text",
    "user", "byte", "path", "time", "state", "item", "block", "table", "group", "image", "input", "level", "token", "field",
    "point", "color", "count", "frame", "event", "range", "start", "end", "left", "right", "top", "open", "close", "read",
    "write", "first", "last", "next", "new", "old", "high", "low", "long", "short", "small", "large", "full", "empty", "free",
    "fast", "slow", "good", "bad", "true", "false", "red", "green", "blue", "black", "white", "day", "year", "month", "hour",
    "second", "one", "two", "three", "four", "five", "six", "tree", "root", "leaf", "stack", "queue", "map", "set", "array",
    "string", "char", "word", "page", "book", "note", "mark", "link", "port", "host", "server", "client", "local", "global",
    "public", "main", "base", "source", "target", "view", "build", "run", "stop", "wait", "send", "load", "save", "copy", "move",
    "find", "match", "sort", "check", "parse", "print", "call", "return", "loop", "case", "else", "mode", "flag", "bit", "mask",
    "hash", "seed", "random", "number", "unit", "scale", "width", "height", "depth", "offset", "length", "total",
];

/// Lower-case letters.
pub(super) const LETTERS: [&str; 26] = [
    "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s", "t", "u", "v", "w", "x", "y",
    "z",
];

/// Names of positions in a list, from the first.
pub(super) const ORDINALS: [&str; 6] = ["first", "second", "third", "fourth", "fifth", "sixth"];

/// Digits.
pub(super) const DIGITS: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
