terraform {
  required_version = ">= 1.9" # validations of one variable by another

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 7.21, < 9.0" # 7.21 brought direct VPC egress of functions
    }
  }
}
