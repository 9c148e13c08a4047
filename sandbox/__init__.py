"""A local Salesforce over the real wires: stateful, in memory, with faults on demand."""
