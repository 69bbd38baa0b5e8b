from gcf_pipes import pipes_function


@pipes_function
def main(request, pipes):  # flask.Request, dagster_pipes.PipesContext
    table_uri = request.get_json()["table_uri"]
    pipes.log.info(f"writing {table_uri}")
    rows = 3
    pipes.report_asset_materialization(metadata={"rows": rows, "table": table_uri}, data_version="v1")
    return {"rows": rows}
