"""What people look at: comparison table, figures, explanations, report, paper tables."""
