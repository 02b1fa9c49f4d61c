//! Which stream keeps a topic.

use std::sync::Arc;

use carillon_wire::{Pattern, PatternBuf, Topic, TopicBuf};
use foldhash::quality::RandomState;
use hashbrown::HashMap;

use super::{
    definition::{Definition, DefinitionError, StreamName},
    sets,
};

const ROOT: usize = 0;

/// Where each topic belongs. Made once from all definitions, then only read: share it between threads.
///
/// A topic that a pattern without wildcards names is one lookup. Others walk a trie over tokens, whose nodes are the
/// patterns' prefixes; the number of streams does not occur in that.
#[derive(Debug)]
pub struct Routes {
    definitions: Vec<Arc<Definition>>,
    exact: HashMap<Box<str>, usize, RandomState>,
    nodes: Vec<Node>,
    /// Of the patterns with wildcards too, by what `Node` says.
    patterns: Vec<(PatternBuf, usize)>,
}

/// The first tokens of at least one pattern.
#[derive(Debug, Default)]
struct Node {
    literals: HashMap<Box<str>, usize, RandomState>,
    any: Option<usize>,
    /// The patterns that end here. Several only in one stream.
    here: Vec<usize>,
    /// The patterns that end with `>` behind this node.
    rest: Vec<usize>,
    /// The one stream of the patterns that end here; what publishing looks at, without going on to the patterns.
    stream_here: Option<usize>,
    /// The one stream of the patterns in `rest`.
    stream_rest: Option<usize>,
}

impl Routes {
    /// Checks the definitions, each for itself and then against all others.
    pub fn new(definitions: Vec<Arc<Definition>>) -> Result<Self, RoutesError> {
        let mut routes =
            Self { definitions, exact: HashMap::default(), nodes: vec![Node::default()], patterns: Vec::new() };
        let mut names = HashMap::<_, _, RandomState>::default();
        for (stream, definition) in routes.definitions.clone().into_iter().enumerate() {
            definition.check()?;
            if names.insert(definition.name.clone(), stream).is_some() {
                return Err(RoutesError::SameName { stream: definition.name.clone() });
            }
            for pattern in &definition.patterns {
                routes.check_overlap(&definition, stream, pattern)?;
                routes.insert(pattern, stream);
            }
        }
        Ok(routes)
    }

    /// The definitions, in the order in which they were given. All indices here are into them.
    pub fn definitions(&self) -> &[Arc<Definition>] {
        &self.definitions
    }

    /// The stream that keeps a topic.
    pub fn stream_of(&self, topic: Topic<'_>) -> Option<usize> {
        if let Some(stream) = self.exact.get(topic.as_str()) {
            return Some(*stream);
        }
        self.find(ROOT, topic.tokens(), topic.is_reserved())
    }

    /// The stream of which one pattern contains everything that `pattern` matches. A subscription that starts anywhere
    /// but now asks for it.
    pub fn stream_containing(&self, pattern: Pattern<'_>) -> Option<usize> {
        let contains = |(own, _): &&(PatternBuf, usize)| sets::contains(own.as_pattern(), pattern);
        let candidates = self.candidates(pattern);
        let mut candidates = candidates.into_iter().filter_map(|index| self.patterns.get(index));
        candidates.find(contains).map(|(_, stream)| *stream)
    }

    /// The streams that keep a topic which `pattern` matches, in order, each once.
    pub fn streams_meeting(&self, pattern: Pattern<'_>) -> Vec<usize> {
        let meets = |(own, _): &&(PatternBuf, usize)| sets::shared_topic(own.as_pattern(), pattern).is_some();
        let candidates = self.candidates(pattern);
        let met = candidates.into_iter().filter_map(|index| self.patterns.get(index)).filter(meets);
        let mut streams: Vec<_> = met.map(|(_, stream)| *stream).collect();
        streams.sort_unstable();
        streams.dedup();
        streams
    }

    fn check_overlap(&self, definition: &Definition, stream: usize, pattern: &PatternBuf) -> Result<(), RoutesError> {
        let candidates = self.candidates(pattern.as_pattern());
        for (other_pattern, other) in candidates.into_iter().filter_map(|index| self.patterns.get(index)) {
            if *other != stream
                && let Some(topic) = sets::shared_topic(pattern.as_pattern(), other_pattern.as_pattern())
                && let Some(other) = self.definitions.get(*other)
            {
                return Err(RoutesError::Overlap(Box::new(Overlap {
                    stream: definition.name.clone(),
                    pattern: pattern.clone(),
                    other: other.name.clone(),
                    other_pattern: other_pattern.clone(),
                    topic,
                })));
            }
        }
        Ok(())
    }

    fn insert(&mut self, pattern: &PatternBuf, stream: usize) {
        if let Some(topic) = pattern.as_pattern().as_topic() {
            self.exact.insert(topic.as_str().into(), stream);
        }
        let index = self.patterns.len();
        self.patterns.push((pattern.clone(), stream));
        let mut node = ROOT;
        for token in pattern.as_pattern().tokens() {
            if token == ">" {
                if let Some(node) = self.nodes.get_mut(node) {
                    node.rest.push(index);
                    node.stream_rest = Some(stream);
                }
                return;
            }
            node = self.child_or_insert(node, token);
        }
        if let Some(node) = self.nodes.get_mut(node) {
            node.here.push(index);
            node.stream_here = Some(stream);
        }
    }

    fn child_or_insert(&mut self, parent: usize, token: &str) -> usize {
        let new = self.nodes.len();
        let Some(parent) = self.nodes.get_mut(parent) else { return ROOT };
        let child = match token {
            "*" => *parent.any.get_or_insert(new),
            literal => *parent.literals.entry(literal.into()).or_insert(new),
        };
        if child == new {
            self.nodes.push(Node::default());
        }
        child
    }

    /// The stream of a pattern that matches the topic whose remaining tokens are given. Only one stream has one, so any
    /// does.
    fn find<'t>(
        &self,
        node: usize,
        mut tokens: impl Iterator<Item = &'t str> + Clone,
        is_reserved: bool,
    ) -> Option<usize> {
        let node = self.nodes.get(node)?;
        let Some(token) = tokens.next() else { return node.stream_here };
        let literal = node.literals.get(token).and_then(|child| self.find(*child, tokens.clone(), false));
        if literal.is_some() || is_reserved {
            return literal;
        }
        node.stream_rest.or_else(|| node.any.and_then(|child| self.find(child, tokens, false)))
    }

    /// The patterns that may share a topic with this one: all that do, and few others.
    fn candidates(&self, pattern: Pattern<'_>) -> Vec<usize> {
        let mut found = Vec::new();
        self.collect(ROOT, pattern.tokens(), &mut found);
        found
    }

    fn collect<'t>(&self, node: usize, mut tokens: impl Iterator<Item = &'t str> + Clone, found: &mut Vec<usize>) {
        let Some(node) = self.nodes.get(node) else { return };
        let Some(token) = tokens.next() else { return found.extend(&node.here) };
        found.extend(&node.rest);
        match token {
            ">" => node.children().for_each(|child| self.collect_all(child, found)),
            "*" => node.children().for_each(|child| self.collect(child, tokens.clone(), found)),
            literal => {
                let children = node.literals.get(literal).into_iter().chain(&node.any);
                children.for_each(|child| self.collect(*child, tokens.clone(), found));
            }
        }
    }

    fn collect_all(&self, node: usize, found: &mut Vec<usize>) {
        let Some(node) = self.nodes.get(node) else { return };
        found.extend(node.here.iter().chain(&node.rest));
        node.children().for_each(|child| self.collect_all(child, found));
    }
}

impl Node {
    fn children(&self) -> impl Iterator<Item = usize> {
        self.literals.values().copied().chain(self.any)
    }
}

/// Why definitions were refused. The texts are for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RoutesError {
    /// One of them for itself.
    #[error(transparent)]
    Definition(#[from] DefinitionError),
    /// Two with one name.
    #[error("two streams have the name `{stream}`; a name belongs to one")]
    SameName {
        /// The name.
        stream: StreamName,
    },
    /// Two that would keep one topic.
    #[error(transparent)]
    Overlap(Box<Overlap>),
}

/// Two streams that would keep one topic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "stream `{stream}` (pattern `{pattern}`) and stream `{other}` (pattern `{other_pattern}`) would both keep topic \
     `{topic}`; a topic belongs to at most one stream: narrow one of the patterns"
)]
pub struct Overlap {
    /// The one that was defined later.
    pub stream: StreamName,
    /// Its pattern.
    pub pattern: PatternBuf,
    /// The one that was defined before.
    pub other: StreamName,
    /// Its pattern.
    pub other_pattern: PatternBuf,
    /// A topic that both would keep.
    pub topic: TopicBuf,
}
