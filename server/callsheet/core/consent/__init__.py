"""What a person agrees to: the policy, the binding and text of an approval, the audit trail."""
