import { graphql } from "relay-runtime";

export const page = graphql`
  query callsPageQuery($first: Int!, $after: String) {
    ...calls_page @arguments(first: $first, after: $after)
    datasets {
      name
      version
    }
  }
`;

export const calls = graphql`
  fragment calls_page on Query
  @argumentDefinitions(first: { type: "Int!" }, after: { type: "String" })
  @refetchable(queryName: "callsPaginationQuery") {
    modelCalls(first: $first, after: $after, orderBy: [{ at: ASC }]) @connection(key: "calls_modelCalls", filters: ["orderBy"]) {
      edges {
        node {
          id
          at
          model
          latencyMs
        }
      }
    }
  }
`;

export const run = graphql`
  mutation callsRunMutation($params: JSON) {
    runJob(job: "sql", params: $params) {
      id
      state
    }
  }
`;

export const changed = graphql`
  subscription callsChangedSubscription {
    modelCallsChanged {
      version
      added {
        nodes {
          id
        }
      }
    }
  }
`;
