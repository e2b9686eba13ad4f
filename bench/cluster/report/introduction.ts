export const INTRODUCTION = `# Simulation of a fleet

<!-- Written by \`npm run simulate\`; do not edit. -->

The balancers, subsets, ejection, retries, hedges, keep-alive and reconnects of a client, as they are in \`lib/\`, on virtual time without sockets:
up to 1,000 servers and 10,000 clients in seconds.

## How to run it

- \`npm run simulate\` writes this page and its pictures. The same code gives the same bytes, on each version of Node.
- \`npm run simulate -- --check\` writes nothing, and fails if this page is another one or a bound is not kept.
- \`npm run simulate -- --quick\` leaves out what takes long; \`--only linkerd\` runs one scenario; \`--out folder\` writes elsewhere.

## The model

- A server has cores and one queue before them. A call needs work: half of it is the same for all calls, the other half is distributed exponentially.
  If nothing else is said, a server has 8 cores and a call takes 20 ms of one, so that a server bears 400 calls a second.
- Calls come independently of each other (a Poisson process), each at a random client. All rows of a table meet the same calls.
- A message takes 0.25 ms from one side to the other, and connecting takes 1 ms. A server tells its load to those who use it each 250 ms.
- A client has one connection to each of its servers. A call that no server can take waits for one, at most for its time limit.
- A server may die (its connections are reset), vanish (nothing comes back), freeze (what comes is served later), fail, slow down or drain.

## How to read it

| Column          | Meaning                                                                                                                 |
| --------------- | ----------------------------------------------------------------------------------------------------------------------- |
| Calls           | those that began after the warm-up                                                                                      |
| Answered        | share of them that got a value in time; an error of the function, a refusal and a timeout are none                      |
| p50, p99, p99.9 | time of a call over all its attempts and waits, in milliseconds, whether it was answered or not                         |
| Amplification   | attempts sent to servers for each call: retries, moves after a refusal, and hedges are attempts                         |
| Load max/mean   | the load of a server is the share of its cores that was busy over the time measured; the busiest one to the mean of all |
| Ejections       | how often a client took a server out because its calls failed                                                           |
| Reconnects      | connections made after the start                                                                                        |
| Most in 100 ms  | the largest part of the reconnects that came within any 100 ms                                                          |
| Not within 1 s  | calls that were not answered within a second                                                                            |

A bound holds for the row that it names. Other rows are there to compare: \`random\` and \`roundRobin\` know nothing of the load, and few clients on
alike servers are where they do well.

## What is simplified

There is no bandwidth and no CPU time of the client or of the protocol. Pools have one connection and do not grow. A client that is told of a drain
connects again once the connection has closed, not before. There are no streams, and lists of servers change within a second at all clients. The times of
scenarios are short, so that 1,000 servers can be simulated: figures of a few calls, such as the most loaded of 1,000 servers, contain chance.
`;
