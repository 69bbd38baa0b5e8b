output "snippet" {
  description = "The Dagster resource and an asset for each function, to paste."
  value       = module.shared.snippet
}

output "service_accounts" {
  description = "Email of each function's service account, to give it what its own work needs."
  value       = { for name, function in module.functions : name => function.service_account }
}
