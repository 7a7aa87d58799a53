"""The kind `graphql`: queries of a connector file, sent by POST, whose lists are cursor connections."""
