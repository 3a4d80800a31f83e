"""The operator's pages and routes of review. The data behind them is in reports."""
