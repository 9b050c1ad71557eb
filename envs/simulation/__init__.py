"""The period: state, flows, feasibility, actions, forecast, and the numbered events."""
